"""From facts to rows: the plain question alone (`simple`), or asked in other words and misheard too (`augmented`)."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pytest_llmbench.training.chunks import Fact
from pytest_llmbench.training.misspelling import misspell
from pytest_llmbench.training.overlap import bare
from pytest_llmbench.training.phrasing import Phrasing
from pytest_llmbench.training.row_forms import new_row

Method = Literal["simple", "augmented"]

_MISSPELT = 8
"""Most misspelt rows a fact gives when a count asks for more than the patterns hold."""

RowMaker = Callable[[str, str], dict[str, Any]]
"""Makes the row of a question; the second argument is its kind: question, paraphrase or misspelt."""


class Source(NamedTuple):
    """A fact, and how rows that ask for it are made."""

    fact: Fact
    to_row: RowMaker


class Drawn(NamedTuple):
    """The rows that were made. `repeated` were left out since another row asks the same, `refused` were not wanted."""

    rows: list[dict[str, Any]]
    repeated: int
    refused: int


def fact_source(fact: Fact, system: str | None) -> Source:
    """Rows of a fact that a chunk tells."""
    return Source(fact, lambda question, kind: new_row(question, fact.answer, system, kind=kind))


def row_source(row: Mapping[str, Any]) -> Source:
    """Rows that ask an existing one in other words; its answer, system prompt and earlier turns stay."""

    def to_row(question: str, kind: str) -> dict[str, Any]:
        said = {**row["prompt"][-1], "content": question}
        return {**row, "prompt": [*row["prompt"][:-1], said], **({} if kind == "question" else {"kind": kind})}

    return Source(Fact((row["prompt"][-1]["content"],), ""), to_row)


def draw(
    sources: Sequence[Source],
    method: Method,
    phrasing: Phrasing,
    *,
    count: int | None,
    seed: int,
    refused: Callable[[Mapping[str, Any]], bool] = lambda _row: False,
) -> Drawn:
    """Rows of all sources in turn, each source's plain question first, until there are `count` (all, when None).

    Rows that are `refused` are left out. The order of the rows is random; sources, count and seed decide it.
    """
    misspelt = 1 if count is None else _MISSPELT
    pools = []
    for place, source in enumerate(sources):
        if method == "simple":
            pools.append(iter([source.to_row(source.fact.questions[0], "question")]))
        else:
            pools.append(_augmented(source, phrasing, _rng(seed, place), misspelt=misspelt))
    _rng(seed, "sources").shuffle(pools)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    repeated = unwanted = 0
    for row in _in_turn(pools):
        if len(rows) == count:
            break
        asked = bare(" ".join(message["content"] for message in row["prompt"]))
        if asked in seen:
            repeated += 1
        elif refused(row):
            unwanted += 1
        else:
            seen.add(asked)
            rows.append(row)
    _rng(seed, "order").shuffle(rows)
    return Drawn(rows, repeated, unwanted)


def _augmented(source: Source, phrasing: Phrasing, rng: random.Random, *, misspelt: int) -> Iterator[dict[str, Any]]:
    questions = source.fact.questions
    yield source.to_row(questions[0], "question")
    others = questions[1:] or questions
    for question in rng.sample(others, len(others)):
        said = rng.choice(phrasing.openers) + question + rng.choice(phrasing.closers)
        if said != questions[0]:
            yield source.to_row(said, "paraphrase")
    for _ in range(misspelt):
        question = rng.choice(questions)
        heard = misspell(question, phrasing.noise, rng)
        if heard != question:
            yield source.to_row(heard, "misspelt")


def _in_turn(pools: Iterable[Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    waiting = deque(pools)
    while waiting:
        pool = waiting.popleft()
        row = next(pool, None)
        if row is not None:
            yield row
            waiting.append(pool)


def _rng(seed: int, purpose: object) -> random.Random:
    """A generator of its own for each source, so that a new one leaves the rows of the others as they are."""
    return random.Random(f"{seed}/{purpose}")  # noqa: S311 - reproducible on purpose, nothing secret
