"""When two prompts are nearly the same: of training rows, and of the cases that a model is judged by."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

NEAR = 0.8
"""From this similarity on (0 to 1) two prompts count as the same.

It is rapidfuzz's ratio (Indel): the share of both texts' characters that their longest common subsequence holds.
"""

_BELOW_NEAR = 100 * NEAR - 1  # rapidfuzz counts in hundredths, and may miss a text that is just as near as its cutoff
_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})
_NO_WORD = re.compile(r"[\W_]+")


def without_accents(text: str) -> str:
    """The text with its letters bare: é as e, ç as c."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def bare(prompt: str) -> str:
    """The prompt without case, accents and punctuation, its words apart by one space."""
    if prompt.isascii():
        return _NO_WORD.sub(" ", prompt.lower()).strip()
    return _NO_WORD.sub(" ", without_accents(without_accents(prompt).casefold().translate(_LIGATURES))).strip()


class Reserved:
    """Prompts that no made row may repeat.

    A text is too near to one of them when, both bare, one holds all the words of the other in a row, or the matching
    blocks of both (difflib's ratio) are `NEAR` of them or more.
    """

    def __init__(self, prompts: Iterable[str]) -> None:
        self._prompts = list(dict.fromkeys(map(bare, prompts)))

    def nearest(self, text: str) -> str | None:
        """The first reserved prompt, bare, that `text` is too near to; None when there is none."""
        from rapidfuzz import fuzz, process

        candidate = bare(text)
        padded = f" {candidate} "
        # Matching blocks are a common subsequence: difflib's ratio is never above Indel's, which is told at once.
        possible = process.extract(candidate, self._prompts, scorer=fuzz.ratio, score_cutoff=_BELOW_NEAR, limit=None)
        places = {place for _, _, place in possible}
        for place, prompt in enumerate(self._prompts):
            if f" {prompt} " in padded or padded in f" {prompt} ":
                return prompt
            if place in places and difflib.SequenceMatcher(None, candidate, prompt, autojunk=False).ratio() >= NEAR:
                return prompt
        return None
