"""How a language asks about what a text says, and how it is misheard: the sentences that rows are made with."""

from __future__ import annotations

import dataclasses
import random
import re
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.documents import Document, Faults, suggestion
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.languages import PHRASING_KEYS, Language
from pytest_llmbench.datasets.near_duplicates import bare
from pytest_llmbench.metrics.text import without_accents

_LISTS: Mapping[str, tuple[str, ...]] = {
    "definition": ("title",),
    "section": ("title", "section"),
    "openers": (),
    "closers": (),
}
"""The lists of sentences, and the slots that may stand in each."""

_FIELD_KEYS = ("keys", "questions", "answer")
_PAIR = 2
_NOISE_FORM = (
    "has 'words' (a word, and the list of what is heard), 'sounds' (a list of pairs: a pattern, other letters), and "
    "'endings' if wanted (letters in quotes)"
)

_WORD_CHANGED = 0.55  # leaves about half of a short command readable, as in real transcripts
_KNOWN_MISHEARING = 0.6
_BY_EAR = 0.8
_SHORTEST_TYPED_WRONG = 4  # letters; a typo in a shorter word makes another word of it

_PARTS = re.compile(r"(\s+)")


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """What a chunk may tell in so many words (its host, its version), how that is asked, and how it is answered."""

    name: str
    questions: tuple[str, ...]
    answer: str


@dataclasses.dataclass(frozen=True, slots=True)
class Phrasing:
    """The sentences of a language file. `fields` is keyed by the bare name that a chunk gives the field.

    `answers` tells what a field that is true or false is told as.
    """

    definition: tuple[str, ...]
    section: tuple[str, ...]
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    fields: Mapping[str, Field]
    noise: Noise
    answers: Mapping[bool, str]


def phrasing_of(language: Language) -> Phrasing:
    """The phrasing of a language.

    Raises:
        UsageError: its file is wrong; one `file:line: ...` for each fault.
    """
    document, path = language.document, language.path
    data = document.data
    if missing := [key for key in PHRASING_KEYS if key not in data]:
        told = f"no {', '.join(missing)}; questions and noise need the keys {', '.join(PHRASING_KEYS)}"
        raise UsageError(located(path, 1, told))
    faults = Faults()
    for name, slots in _LISTS.items():
        for index, fault in pattern_faults(data[name], slots):
            faults.at(path, document.line(name, index), f"{name}: {fault}")
    if not isinstance(data["fields"], dict):
        faults.at(path, document.line("fields"), "fields: each has a name, its keys, questions and an answer")
        faults.raise_any()
    for name, field in data["fields"].items():
        for fault in _field_faults(field):
            faults.at(path, document.line("fields", name), f"field '{name}': {fault}")
    if not _is_truth(answers := data.get("answers", {"true": "true", "false": "false"})):
        faults.at(path, document.line("answers"), 'answers: a text for "true" and one for "false", all in quotes')
    faults.raise_any()
    fields = {
        bare(key): Field(name, tuple(field["questions"]), field["answer"])
        for name, field in data["fields"].items()
        for key in field["keys"]
    }
    lists = {name: tuple(data[name]) for name in _LISTS}
    truth = {True: answers["true"], False: answers["false"]}
    return Phrasing(**lists, fields=fields, noise=read_noise(document), answers=truth)


def _is_truth(answers: Any) -> bool:
    return isinstance(answers, dict) and all(isinstance(answers.get(key), str) for key in ("true", "false"))


def read_noise(document: Document) -> Noise:
    """The `noise` of a file: `words` (what is heard), `sounds` (a pattern, other letters) and `endings` (letters).

    Raises:
        UsageError: a part of it is missing or wrong, or a pattern is no regular expression.
    """
    sounds = []
    noise = document.data["noise"]
    if fault := _noise_fault(noise):
        raise UsageError(located(document.path, document.line("noise"), f"noise: {fault}"))
    for index, (heard, spelt) in enumerate(noise["sounds"]):
        try:
            sounds.append((re.compile(heard), spelt))
            sounds[-1][0].sub(spelt, "")  # the letters may name groups, which the pattern need not have
        except re.error as error:
            line = document.line("noise", "sounds", index)
            raise UsageError(located(document.path, line, f"{heard!r} is no regular expression: {error}")) from error
    return Noise(noise["words"], sounds, noise.get("endings", ""))


def _noise_fault(noise: Any) -> str | None:
    match noise:
        case {"words": dict(words), "sounds": list(sounds)} if isinstance(noise.get("endings", ""), str):
            heard = all(isinstance(others, list) and others and all(map(_is_text, others)) for others in words.values())
            pairs = all(isinstance(pair, list) and len(pair) == _PAIR and all(map(_is_text, pair)) for pair in sounds)
            return None if heard and pairs else _NOISE_FORM
    return _NOISE_FORM


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _field_faults(field: Any) -> list[str]:
    if not isinstance(field, dict) or set(field) != set(_FIELD_KEYS):
        return [f"has exactly these keys: {', '.join(_FIELD_KEYS)}"]
    faults = [f"{fault} (keys)" for _, fault in pattern_faults(field["keys"], ())]
    faults += [f"{fault} (questions)" for _, fault in pattern_faults(field["questions"], ("title",))]
    if fault := pattern_fault(field["answer"], ("title", "value")):
        faults.append(f"{fault} (answer)")
    return faults


def pattern_faults(listed: Any, slots: Collection[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with a list of sentences in which these slots may stand, each with its place in the list."""
    if not isinstance(listed, list) or not listed:
        yield 0, f"a list of texts, not {listed!r:.40}"
        return
    for place, text in enumerate(listed):
        if fault := pattern_fault(text, slots):
            yield place, fault


def pattern_fault(text: Any, slots: Collection[str]) -> str | None:
    """What is wrong with a sentence in which these slots may stand, such as `{title}`; None when it can be filled."""
    if not isinstance(text, str):
        return f"a text, not {text!r:.40}; put it in quotes"
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        for unknown in (name for name in names if name not in slots):
            known = suggestion(unknown, slots) if slots else "none can stand here"
            return f"unknown slot '{unknown}' in '{text}'; {known}"
        text.format_map(dict.fromkeys(slots, ""))
    except (ValueError, LookupError) as error:
        return f"'{text}' cannot be filled: {error}; write {{{{ and }}}} for braces that are no slot"
    return None


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
