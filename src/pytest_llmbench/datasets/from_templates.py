"""Training sets made from a vocabulary and hand-written templates, away from the prompts that will be asked."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.suites import Case, Vocabulary
from pytest_llmbench.core.documents import Document, Faults, read_yaml, suggestion
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.languages import told_language
from pytest_llmbench.datasets.near_duplicates import Reserved, identity
from pytest_llmbench.datasets.phrasing import Noise, misspell, pattern_fault, pattern_faults, read_noise

KINDS = ("command", "request", "misspelt")
"""The kinds of training rows: plain orders, natural requests, and either of them misheard or mistyped."""

HELDOUT_PER_TOOL = 4

_SOURCES: Mapping[str, Sequence[str]] = {
    "command": ("commands",),
    "request": ("requests",),
    "misspelt": ("commands", "requests"),
    "heldout": ("heldout",),
}
"""The kinds of patterns that each kind of row is made from."""

_PATTERN_KINDS = ("commands", "requests", "heldout")

_INTENT_KEYS = ("answer", *_PATTERN_KINDS)
_KEYS = ("language", "system", "openers", "closers", "slots", "tools", "noise")
_OPTIONAL = {"language", "noise"}
_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """One exchange to learn, of the tool it calls. `kind` is command, request, misspelt or heldout."""

    prompt: str
    answer: str
    tool: str
    kind: str

    def to_json(self, system: str) -> dict[str, Any]:
        """TRL's conversational prompt-completion form: the loss is on the completion alone."""
        return {
            "prompt": [{"role": "system", "content": system}, {"role": "user", "content": self.prompt}],
            "completion": [{"role": "assistant", "content": self.answer}],
            "tool": self.tool,
            "kind": self.kind,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingSet:
    """The rows, in a random order that the seed decides. `dropped` counts those too near to a reserved prompt."""

    system: str
    train: tuple[_Row, ...]
    heldout: tuple[_Row, ...]
    dropped: int


def reserved_prompts(cases: Iterable[Case]) -> list[str]:
    """What the cases ask, and the corrected commands they refer to."""
    return [text for case in cases for text in (case.prompt, case.reference) if text]


def rows_from_templates(
    templates: Templates, reserved: Iterable[str], *, per_tool: Mapping[str, int], seed: int, count: int | None = None
) -> TrainingSet:
    """Make the training rows, and a few held-out ones, of every tool that has templates.

    `per_tool` says how many rows of each kind (command, request, misspelt) a tool gets; fewer when its templates hold
    no more, for which those of others make up until there are `count` rows. The same templates, reserved prompts and
    seed give the same rows in the same order. No training row is near a reserved prompt or a held-out one, and no
    held-out row is near a reserved prompt.
    """
    taken = Reserved(reserved)
    tools = list(dict.fromkeys(intent.tool for intent in templates.intents))
    heldout, dropped = [], 0
    for tool in tools:
        draws = _rows(templates, tool, "heldout", _rng(seed, tool, "heldout"))
        kept, refused = _take(draws, HELDOUT_PER_TOOL, taken, set())
        heldout += kept
        dropped += refused
    taken = Reserved([*reserved, *(row.prompt for row in heldout)])
    train: list[_Row] = []
    seen: set[str] = set()
    wanted = [
        (_rows(templates, tool, kind, _rng(seed, tool, kind)), number)
        for tool, (kind, number) in itertools.product(tools, per_tool.items())
    ]
    while wanted:
        more = []
        for draws, number in wanted:
            kept, refused = _take(draws, number, taken, seen)
            train += kept
            dropped += refused
            more += [draws] if len(kept) == number else []
        missing = (count or 0) - len(train)
        wanted = [(draws, math.ceil(missing / len(more))) for draws in more] if missing > 0 else []
    _rng(seed, "order").shuffle(train)
    return TrainingSet(templates.system, tuple(train), tuple(heldout), dropped)


def _rng(seed: int, *names: str) -> random.Random:
    """A generator of its own for each purpose, so that a new tool leaves the rows of the others as they are."""
    return random.Random("/".join([str(seed), *names]))  # noqa: S311 - reproducible on purpose, nothing secret


def _take(
    draws: Iterator[tuple[Exchange, _Row]], count: int, reserved: Reserved, seen: set[str]
) -> tuple[list[_Row], int]:
    """The first `count` new rows that are not too near to a reserved prompt, misspelt or not, and how many were."""
    kept: list[_Row] = []
    dropped = 0
    while len(kept) < count and (drawn := next(draws, None)):
        exchange, row = drawn
        if reserved.nearest(row.prompt) or reserved.nearest(exchange.prompt):
            dropped += 1
        elif identity(row.prompt) not in seen:
            seen.add(identity(row.prompt))
            kept.append(row)
    return kept, dropped


def _rows(templates: Templates, tool: str, kind: str, rng: random.Random) -> Iterator[tuple[Exchange, _Row]]:
    """Rows of a tool and kind, with the exchanges they are made from; every pattern in turn, so that each is heard."""
    for exchange in _in_turn(templates, list(templates.of_tool(tool)), _SOURCES[kind], rng):
        prompt = exchange.prompt
        if kind == "misspelt":
            if templates.noise is None:
                raise UsageError("the templates have no 'noise' to misspell with; give it, or their 'language'")
            prompt = misspell(prompt, templates.noise, rng)
            if prompt == exchange.prompt:
                continue
        elif kind == "command":
            prompt = rng.choice(templates.openers) + prompt + rng.choice(templates.closers)
        yield exchange, _Row(prompt, f"{exchange.answer} [{tool}]", tool, kind)


def _in_turn(
    templates: Templates, intents: Sequence[_Intent], kinds: Sequence[str], rng: random.Random
) -> Iterator[Exchange]:
    pools = []
    for intent, kind in itertools.product(intents, kinds):
        for pattern in intent.patterns[kind]:
            pool = list(expand(pattern, intent.answer, templates.slots))
            rng.shuffle(pool)
            pools.append(pool)
    rng.shuffle(pools)
    for exchanges in itertools.zip_longest(*pools):
        yield from (exchange for exchange in exchanges if exchange is not None)


@dataclasses.dataclass(frozen=True, slots=True)
class _Intent:
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
    intents: tuple[_Intent, ...]
    noise: Noise | None = None
    language: str | None = None

    def of_tool(self, tool: str) -> Iterator[_Intent]:
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
        _Intent(tool, intent["answer"], {kind: tuple(intent.get(kind, ())) for kind in _PATTERN_KINDS})
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
    for keys, fault in _surrounding_faults(data):
        faults.at(document.path, document.line(*keys), f"{keys[0]}: {fault}")
    faults.raise_any()
    for tool in vocabulary.tools:
        if tool not in data["tools"]:
            faults.at(document.path, document.line("tools"), f"tool '{tool}' of the vocabulary has no templates")
    for tool, listed in data["tools"].items():
        for keys, fault in _tool_faults(tool, listed, vocabulary, data["slots"]):
            faults.at(document.path, document.line("tools", tool, *keys), fault)
    faults.raise_any()


def _tool_faults(
    tool: str, listed: Any, vocabulary: Vocabulary, slots: Mapping[str, Any]
) -> Iterator[tuple[tuple[int, ...], str]]:
    """What is wrong with the intents of a tool, each with the place of its intent."""
    if tool not in vocabulary.tools:
        yield (), f"tool '{tool}' is not in the vocabulary; {suggestion(str(tool), vocabulary.tools)}"
    if not isinstance(listed, list):
        yield (), f"tool '{tool}': a list of intents, each with an answer and patterns, not {listed!r:.40}"
        return
    for index, intent in enumerate(listed):
        for what in _faults_of(intent, slots):
            yield (index,), f"tool '{tool}': {what}"
    for kind in _PATTERN_KINDS:
        if not any(intent.get(kind) for intent in listed if isinstance(intent, dict)):
            yield (), f"tool '{tool}' has no {kind}"


def _surrounding_faults(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong beside the patterns, each with the keys that lead there."""
    if not isinstance(data["system"], str):
        yield ("system",), f"a text, not {data['system']!r:.40}; put it in quotes"
    for key in ("openers", "closers"):
        for place, fault in pattern_faults(data[key], ()):
            yield (key, place), fault
    for key in ("slots", "tools"):
        if not isinstance(data[key], dict):
            yield (key,), f"names and what each has, not {data[key]!r:.40}"
    for name, values in data["slots"].items() if isinstance(data["slots"], dict) else ():
        said = [*values, *values.values()] if isinstance(values, dict) else values
        if not isinstance(said, list) or not said or not all(map(_is_said, said)):
            yield ("slots", name), f"'{name}' needs a list of texts, or what is said with how it is written"


def _is_said(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _faults_of(intent: Any, slots: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(intent, dict) or not isinstance(intent.get("answer"), str):
        yield "an intent needs an answer"
        return
    for key in intent:
        if key not in _INTENT_KEYS:
            yield f"unknown key '{key}'; {suggestion(key, _INTENT_KEYS)}"
    answered = set(_SLOT.findall(intent["answer"]))
    if fault := pattern_fault(intent["answer"], answered):
        yield f"answer: {fault}"
    for kind in (kind for kind in _PATTERN_KINDS if kind in intent):
        if not isinstance(intent[kind], list) or not all(isinstance(pattern, str) for pattern in intent[kind]):
            yield f"{kind}: a list of texts, not {intent[kind]!r:.40}; put each in quotes"
            continue
        for pattern in intent[kind]:
            yield from _pattern_faults(pattern, answered, slots)


def _pattern_faults(pattern: str, answered: set[str], slots: Mapping[str, Any]) -> Iterator[str]:
    said = set(_SLOT.findall(pattern))
    for slot in sorted(said - set(slots)):
        yield f"the slot '{slot}' in '{pattern}' does not exist; {suggestion(slot, slots)}"
    for slot in sorted(answered - said):
        yield f"the answer uses the slot '{slot}', which '{pattern}' does not hold"
    if fault := pattern_fault(pattern, said):
        yield fault
