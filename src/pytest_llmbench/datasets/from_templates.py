"""Training sets made from a vocabulary and hand-written templates, away from the prompts that will be asked."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets.misspelling import misspell
from pytest_llmbench.datasets.overlap import Reserved, bare
from pytest_llmbench.datasets.templates import Exchange, Intent, Templates, expand

KINDS = ("command", "request", "misspelt")
"""The kinds of training rows: plain orders, natural requests, and either of them misheard or mistyped."""

HELDOUT_PER_TOOL = 4


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

    def to_jsonl(self, rows: Iterable[_Row]) -> str:
        """The rows as JSON Lines."""
        return "".join(json.dumps(row.to_json(self.system), ensure_ascii=False) + "\n" for row in rows)


def reserved_prompts(cases: Iterable[Case]) -> list[str]:
    """What the cases ask, and the corrected commands they refer to."""
    return [text for case in cases for text in (case.prompt, case.reference) if text]


def generate(templates: Templates, reserved: Iterable[str], *, per_tool: Mapping[str, int], seed: int) -> TrainingSet:
    """Make the training rows, and a few held-out ones, of every tool that has templates.

    `per_tool` says how many rows of each kind (command, request, misspelt) a tool gets; fewer when its templates hold
    no more. The same templates, reserved prompts and seed give the same rows in the same order. No training row is
    near a reserved prompt or a held-out one, and no held-out row is near a reserved prompt.
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
    for tool, (kind, count) in itertools.product(tools, per_tool.items()):
        kept, refused = _take(_rows(templates, tool, kind, _rng(seed, tool, kind)), count, taken, seen)
        train += kept
        dropped += refused
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
    for exchange, row in draws:
        if len(kept) == count:
            break
        if reserved.nearest(row.prompt) or reserved.nearest(exchange.prompt):
            dropped += 1
        elif bare(row.prompt) not in seen:
            seen.add(bare(row.prompt))
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


_SOURCES: Mapping[str, Sequence[str]] = {
    "command": ("commands",),
    "request": ("requests",),
    "misspelt": ("commands", "requests"),
    "heldout": ("heldout",),
}
"""The kinds of patterns that each kind of row is made from."""


def _in_turn(
    templates: Templates, intents: Sequence[Intent], kinds: Sequence[str], rng: random.Random
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
