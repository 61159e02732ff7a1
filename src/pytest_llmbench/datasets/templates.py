"""The sentences that training sets are made of: hand-written patterns, and all the texts each stands for."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.suites import Vocabulary
from pytest_llmbench.core.documents import Document, Faults, read_yaml, suggestion
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.languages import told_language
from pytest_llmbench.datasets.misspelling import Noise
from pytest_llmbench.datasets.phrasing import read_noise

KINDS = ("commands", "requests", "heldout")

_INTENT_KEYS = ("answer", *KINDS)
_KEYS = ("language", "system", "openers", "closers", "slots", "tools", "noise")
_OPTIONAL = {"language", "noise"}
_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """One thing a user may want of a tool: how it is said, by kind, and what a good answer is."""

    tool: str
    answer: str
    patterns: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Templates:
    """A whole template file; `noise` is None where it leaves that to its `language`.

    `slots` maps a slot to its values: what is said, and how an answer writes it.
    """

    system: str
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    slots: Mapping[str, Mapping[str, str]]
    intents: tuple[Intent, ...]
    noise: Noise | None = None
    language: str | None = None

    def of_tool(self, tool: str) -> Iterator[Intent]:
        """The tool's intents, in the order of the file."""
        return (intent for intent in self.intents if intent.tool == tool)


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """A prompt with the answer it should get."""

    prompt: str
    answer: str


def expand(pattern: str, answer: str, slots: Mapping[str, Mapping[str, str]]) -> Iterator[Exchange]:
    """Every prompt that `pattern` stands for, with its answer: all choices, all slot values, in a fixed order."""
    names = list(dict.fromkeys(_SLOT.findall(pattern)))
    parts = _CHOICE.split(pattern)  # texts at even places, choices at odd ones
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    for chosen in itertools.product(*choices):
        text = "".join(chosen)
        for values in itertools.product(*(slots[name].items() for name in names)):
            said = {name: value[0] for name, value in zip(names, values, strict=True)}
            written = {name: value[1] for name, value in zip(names, values, strict=True)}
            yield Exchange(text.format_map(said), answer.format_map(written))


def load_templates(path: Path | str, vocabulary: Vocabulary) -> Templates:
    """Read a template file; every tool of the vocabulary must have an intent with each kind of pattern.

    Raises:
        UsageError: the file is unreadable or wrong; one `file:line: ...` for each fault.
    """
    document = read_yaml(path)
    _check(document, vocabulary)
    data = document.data
    slots = {
        name: dict(values) if isinstance(values, dict) else {value: value for value in values}
        for name, values in data["slots"].items()
    }
    intents = tuple(
        Intent(tool, intent["answer"], {kind: tuple(intent.get(kind, ())) for kind in KINDS})
        for tool, listed in data["tools"].items()
        for intent in listed
    )
    noise = read_noise(document) if "noise" in data else None
    around = tuple(data["openers"]), tuple(data["closers"])
    return Templates(data["system"], *around, slots, intents, noise, told_language(data))


def _check(document: Document, vocabulary: Vocabulary) -> None:
    data = document.data
    if not isinstance(data, dict) or not set(_KEYS) >= set(data) >= set(_KEYS) - _OPTIONAL:
        wanted = ", ".join(_KEYS)
        raise UsageError(located(document.path, 1, f"a template file has exactly these keys: {wanted}"))
    faults = Faults()
    for tool in vocabulary.tools:
        if tool not in data["tools"]:
            faults.at(document.path, document.line("tools"), f"tool '{tool}' of the vocabulary has no templates")
    for tool, listed in data["tools"].items():
        if tool not in vocabulary.tools:
            what = f"tool '{tool}' is not in the vocabulary; {suggestion(tool, vocabulary.tools)}"
            faults.at(document.path, document.line("tools", tool), what)
        for index, intent in enumerate(listed):
            for what in _faults_of(intent, data["slots"]):
                faults.at(document.path, document.line("tools", tool, index), f"tool '{tool}': {what}")
        for kind in KINDS:
            if not any(intent.get(kind) for intent in listed if isinstance(intent, dict)):
                faults.at(document.path, document.line("tools", tool), f"tool '{tool}' has no {kind}")
    faults.raise_any()


def _faults_of(intent: Any, slots: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(intent, dict) or not isinstance(intent.get("answer"), str):
        yield "an intent needs an answer"
        return
    for key in intent:
        if key not in _INTENT_KEYS:
            yield f"unknown key '{key}'; {suggestion(key, _INTENT_KEYS)}"
    answered = set(_SLOT.findall(intent["answer"]))
    for pattern in itertools.chain.from_iterable(intent.get(kind, ()) for kind in KINDS):
        said = set(_SLOT.findall(pattern))
        for slot in sorted(said - set(slots)):
            yield f"the slot '{slot}' in '{pattern}' does not exist; {suggestion(slot, slots)}"
        for slot in sorted(answered - said):
            yield f"the answer uses the slot '{slot}', which '{pattern}' does not hold"
