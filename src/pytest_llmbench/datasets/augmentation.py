"""From facts to rows: the plain question alone (`simple`), or paraphrased and misheard too (`augmented`)."""

from __future__ import annotations

import contextlib
import itertools
import random
from array import array
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pytest_llmbench.core.languages import told_language
from pytest_llmbench.datasets.chunks import Fact
from pytest_llmbench.datasets.disk_sequence import Computed, KnownTexts, shuffled, spooled
from pytest_llmbench.datasets.near_duplicates import identity
from pytest_llmbench.datasets.phrasing import Phrasing, misspell
from pytest_llmbench.datasets.row_formats import new_row

Method = Literal["simple", "augmented"]

_MISSPELT = 8
"""Most misspelt rows a fact gives when a count asks for more than the patterns hold."""

_AT_ONCE = 64
"""Rows drawn before it is asked which of them are refused."""

RowMaker = Callable[[str, str], dict[str, Any]]
"""Makes the row of a question; the second argument is its kind: question, paraphrase or misspelt."""


Refusal = Callable[[Sequence[Mapping[str, Any]]], Container[int]]
"""Tells the places of those of some rows that are not wanted."""


PhrasingOf = Callable[[str | None], Phrasing]
"""Gives the phrasing of a language that a source names, or of those that name none."""


class RowSource(NamedTuple):
    """A fact, how rows that ask for it are made, and the language that it names itself."""

    fact: Fact
    to_row: RowMaker
    language: str | None = None


class Drawn(NamedTuple):
    """The rows that were made. `repeated` were left out since another row asks the same, `refused` were not wanted."""

    rows: Sequence[dict[str, Any]]
    repeated: int
    refused: int


def fact_source(fact: Fact, system: str | None, language: str | None = None) -> RowSource:
    """Rows of a fact that a chunk tells."""
    more = {"language": language} if language else {}
    return RowSource(fact, lambda question, kind: new_row(question, fact.answer, system, kind=kind, **more), language)


def row_source(row: Mapping[str, Any]) -> RowSource:
    """Rows that ask an existing one in other words; its answer, system prompt and earlier turns stay."""

    def to_row(question: str, kind: str) -> dict[str, Any]:
        said = {**row["prompt"][-1], "content": question}
        return {**row, "prompt": [*row["prompt"][:-1], said], **({} if kind == "question" else {"kind": kind})}

    return RowSource(Fact((row["prompt"][-1]["content"],), ""), to_row, told_language(row))


@contextlib.contextmanager
def draw_rows(
    sources: Sequence[RowSource],
    method: Method,
    phrasing: PhrasingOf,
    *,
    count: int | None,
    seed: int,
    refused: Refusal = lambda _rows: (),
    on_row: Callable[[int], None] = lambda _done: None,
) -> Iterator[Drawn]:
    """Rows of all sources in turn, each source's plain question first, until there are `count` (all, when None).

    Rows that are `refused` are left out. The order of the rows is random; sources, count and seed decide it. The rows
    are on disk while in the `with`; memory is about 30 bytes a source and a row. `on_row` is told how many there are.

    Raises:
        NotReadyError: the temporary folder is full.
    """
    drafts = _Drafts(method, phrasing, seed, misspelt=1 if count is None else _MISSPELT)
    left_out: Counter[str] = Counter()
    with spooled(_kept(drafts.in_turn(sources), refused, left_out, count, on_row)) as rows:
        order = shuffled(len(rows), _rng(seed, "order"))
        in_order = Computed(len(rows), lambda place: rows[order[place]])
        yield Drawn(in_order, left_out["repeated"], left_out["refused"])


def _kept(
    drafts: Iterator[dict[str, Any]],
    refused: Refusal,
    left_out: Counter[str],
    count: int | None,
    on_row: Callable[[int], None],
) -> Iterator[dict[str, Any]]:
    """The first `count` rows that are wanted and new. The others are counted in `left_out`."""
    kept = 0
    with KnownTexts() as known:
        while batch := list(itertools.islice(drafts, _AT_ONCE if count is None else min(_AT_ONCE, count))):
            unwanted = refused(batch)
            for place, row in enumerate(batch):
                if kept == count:
                    return
                if place in unwanted:
                    left_out["refused"] += 1
                elif not known.add(identity(" ".join(message["content"] for message in row["prompt"]))):
                    left_out["repeated"] += 1
                else:
                    yield row
                    kept += 1
            on_row(kept)


class _Drafts:
    """What can be drawn from sources, before anything is left out. A source is made anew at each turn, not kept."""

    def __init__(self, method: Method, phrasing: PhrasingOf, seed: int, *, misspelt: int) -> None:
        self._method = method
        self._phrasing = phrasing
        self._seed = seed
        self._misspelt = misspelt

    def in_turn(self, sources: Sequence[RowSource]) -> Iterator[dict[str, Any]]:
        """The first row of each source in a random order, then the second of each that has one, and so on."""
        waiting = shuffled(len(sources), _rng(self._seed, "sources"))
        for turn in itertools.count():
            staying = array("I")
            for place in waiting:
                source = sources[place]
                draft = next(itertools.islice(self._of(source, place), turn, None), None)
                if draft is None:
                    continue
                yield source.to_row(*draft)
                if turn + 1 < self._most(source.fact):
                    staying.append(place)
            if not staying:
                return
            waiting = staying

    def _most(self, fact: Fact) -> int:
        """A number of rows that no such source exceeds."""
        return 1 if self._method == "simple" else max(len(fact.questions), 2) + self._misspelt

    def _of(self, source: RowSource, place: int) -> Iterator[tuple[str, str]]:
        """The questions of the source in that place, and their kinds."""
        questions = source.fact.questions
        yield questions[0], "question"
        if self._method == "simple":
            return
        rng, phrasing = _rng(self._seed, place), self._phrasing(source.language)
        others = questions[1:] or questions
        for question in rng.sample(others, len(others)):
            said = rng.choice(phrasing.openers) + question + rng.choice(phrasing.closers)
            if said != questions[0]:
                yield said, "paraphrase"
        for _ in range(self._misspelt):
            question = rng.choice(questions)
            heard = misspell(question, phrasing.noise, rng)
            if heard != question:
                yield heard, "misspelt"


def _rng(seed: int, purpose: object) -> random.Random:
    """A generator of its own for each source, so that a new one leaves the rows of the others as they are."""
    return random.Random(f"{seed}/{purpose}")  # noqa: S311 - reproducible on purpose, nothing secret
