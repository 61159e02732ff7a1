"""Commands as they are misheard or typed in a hurry: each change is one that people or recognisers make."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Mapping, Sequence

from pytest_llmbench.metrics.text import without_accents

_WORD_CHANGED = 0.55  # leaves about half of a short command readable, as in real transcripts
_KNOWN_MISHEARING = 0.6
_BY_EAR = 0.8
_SHORTEST_TYPED_WRONG = 4  # letters; a typo in a shorter word makes another word of it

_PARTS = re.compile(r"(\s+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Noise:
    """How words are misheard (`words`: what is heard) and spelt by ear (`sounds`: a pattern, and other letters).

    `endings` are letters that are added to a word, or left out at its end.
    """

    words: Mapping[str, Sequence[str]]
    sounds: Sequence[tuple[re.Pattern[str], str]]
    endings: str = ""


def misspell(text: str, noise: Noise, rng: random.Random) -> str:
    """Change about half of the words, at least one, by mishearing, spelling by ear or mistyping."""
    parts = _PARTS.split(text)
    words = range(0, len(parts), 2)
    chosen = [index for index in words if rng.random() < _WORD_CHANGED] or [rng.choice(words)]
    for index in chosen:
        parts[index] = _misspell_word(parts[index], noise, rng)
    return "".join(parts)


def _misspell_word(word: str, noise: Noise, rng: random.Random) -> str:
    heard = noise.words.get(word)
    if heard and rng.random() < _KNOWN_MISHEARING:
        return rng.choice(heard)
    sounds = [(letters, others) for letters, others in noise.sounds if letters.search(word)]
    if sounds and rng.random() < _BY_EAR:
        letters, others = rng.choice(sounds)
        return letters.sub(others, word, count=1) or word
    return _mistype(word, noise.endings, rng) if len(word) >= _SHORTEST_TYPED_WRONG else word


def _mistype(word: str, endings: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    slips = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word + (rng.choice(endings) if endings else ""),
        word.rstrip(endings) or word,
        without_accents(word),
    )
    return rng.choice(slips)
