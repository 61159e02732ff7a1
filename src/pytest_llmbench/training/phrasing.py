"""How a language asks about what a text says, and how it is misheard: the sentences that rows are made with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.documents import Document, Faults, read_yaml, suggestion
from pytest_llmbench.errors import UsageError, located
from pytest_llmbench.training.misspelling import Noise
from pytest_llmbench.training.overlap import bare

FRENCH = Path(__file__).with_name("phrasing_fr.yaml")

_LISTS = ("definition", "section", "openers", "closers")
_KEYS = ("language", *_LISTS, "fields", "noise")
_FIELD_KEYS = ("keys", "questions", "answer")
_SLOTS = {"title", "section", "value"}
_SLOT = re.compile(r"\{([^{}]*)\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """What a chunk may tell in so many words (its host, its version), how that is asked, and how it is answered."""

    name: str
    questions: tuple[str, ...]
    answer: str


@dataclasses.dataclass(frozen=True, slots=True)
class Phrasing:
    """A whole phrasing file. `fields` is keyed by the bare name that a chunk gives the field."""

    definition: tuple[str, ...]
    section: tuple[str, ...]
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    fields: Mapping[str, Field]
    noise: Noise


def load_phrasing(path: Path = FRENCH) -> Phrasing:
    """Read a phrasing file, in the form of the French one that comes with the package.

    Raises:
        UsageError: the file is unreadable or wrong; one `file:line: ...` for each fault.
    """
    document = read_yaml(path)
    data = document.data
    if not isinstance(data, dict) or not set(_KEYS) >= set(data) >= set(_KEYS) - {"language"}:
        raise UsageError(located(path, 1, f"a phrasing file has exactly these keys: {', '.join(_KEYS)}"))
    faults = Faults()
    for name in _LISTS:
        for index, text in enumerate(data[name] if isinstance(data[name], list) else [None]):
            if fault := _pattern_fault(text):
                faults.at(path, document.line(name, index), f"{name}: {fault}")
    for name, field in data["fields"].items():
        for fault in _field_faults(field):
            faults.at(path, document.line("fields", name), f"field '{name}': {fault}")
    faults.raise_any()
    fields = {
        bare(key): Field(name, tuple(field["questions"]), field["answer"])
        for name, field in data["fields"].items()
        for key in field["keys"]
    }
    lists = {name: tuple(data[name]) for name in _LISTS}
    return Phrasing(**lists, fields=fields, noise=read_noise(document))


def read_noise(document: Document) -> Noise:
    """The `noise` of a phrasing or template file: `words` (what is heard) and `sounds` (a pattern, other letters).

    Raises:
        UsageError: a pattern is no regular expression.
    """
    sounds = []
    noise: Mapping[str, Any] = document.data["noise"]
    for index, (heard, spelt) in enumerate(noise["sounds"]):
        try:
            sounds.append((re.compile(heard), spelt))
        except re.error as error:
            line = document.line("noise", "sounds", index)
            raise UsageError(located(document.path, line, f"{heard!r} is no regular expression: {error}")) from error
    return Noise(noise["words"], sounds)


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
