"""How a language asks about what a text says, and how it is misheard: the sentences that rows are made with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.documents import Document, Faults, suggestion
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.languages import PHRASING_KEYS, Language, read_language
from pytest_llmbench.datasets.misspelling import Noise
from pytest_llmbench.datasets.overlap import bare

_LISTS = ("definition", "section", "openers", "closers")
_FIELD_KEYS = ("keys", "questions", "answer")
_SLOTS = {"title", "section", "value"}
_SLOT = re.compile(r"\{([^{}]*)\}")
_PAIR = 2
_NOISE_FORM = (
    "has 'words' (a word, and the list of what is heard), 'sounds' (a list of pairs: a pattern, other letters), and "
    "'endings' if wanted (letters in quotes)"
)


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


def load_phrasing(path: Path) -> Phrasing:
    """Read the phrasing of a language file, or of a file that holds only that.

    Raises:
        UsageError: the file is unreadable or wrong; one `file:line: ...` for each fault.
    """
    return phrasing_of(read_language(path))


def phrasing_of(language: Language) -> Phrasing:
    """The phrasing of a language. Raises UsageError as `load_phrasing` does."""
    document, path = language.document, language.path
    data = document.data
    if missing := [key for key in PHRASING_KEYS if key not in data]:
        told = f"no {', '.join(missing)}; questions and noise need the keys {', '.join(PHRASING_KEYS)}"
        raise UsageError(located(path, 1, told))
    faults = Faults()
    for name in _LISTS:
        for index, text in enumerate(data[name] if isinstance(data[name], list) and data[name] else [None]):
            if fault := _pattern_fault(text):
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
    if not field["questions"] or not field["keys"]:
        return ["needs a key and a question at least"]
    return [fault for text in (*field["questions"], field["answer"]) if (fault := _pattern_fault(text))]


def _pattern_fault(text: Any) -> str | None:
    if not isinstance(text, str):
        return f"a list of texts, not {text!r:.40}; put it in quotes"
    unknown = sorted(set(_SLOT.findall(text)) - _SLOTS)
    return f"unknown slot '{unknown[0]}' in '{text}'; {suggestion(unknown[0], _SLOTS)}" if unknown else None
