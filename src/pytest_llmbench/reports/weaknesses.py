"""The cases that a variant answers badly: wrong ones before those that lack something, none that is right."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping

from pytest_llmbench.core.records import BASE
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.typed import Result, RunDocument

_FULL = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Weakness:
    """One case's worst answer. `scores` are of the metrics that judge, `loss` what the answer lost to the base's."""

    row: Result
    scores: Mapping[str, float]
    failed: bool
    loss: float

    @property
    def worst(self) -> str | None:
        """The metric with the lowest score, the first that leads among equals; None for an answer that has none."""
        return min(self.scores, key=lambda metric: self.scores[metric], default=None)

    @property
    def rank(self) -> tuple[float | bool, ...]:
        """What sorts the weakest first: no answer, the lowest score, the wrong tool, the mean, the greatest loss."""
        lowest = min(self.scores.values(), default=0.0)
        tool = self.scores.get("tool_accuracy", _FULL)
        return not self.failed, lowest, tool, mean(self.scores.values()) or 0.0, -self.loss


def weaknesses(document: RunDocument, variant: str, count: int) -> tuple[list[Weakness], int]:
    """The `count` weakest of the cases that `variant` did not answer in full, and how many those are.

    A case is answered in full when every metric that leads and scored it gives 1, and its item did not fail. One that
    nothing judged is not among them, unless there was no answer.
    """
    rows = document.results
    weak: Iterator[Weakness] = (one for row in rows if (one := _weakness(row, variant)) is not None)
    if document.statistics.cases != document.statistics.total_tests:
        weak = _each_once(weak)
    total = itertools.count()
    counted = (one for one, _ in zip(weak, total, strict=False))
    weakest = heapq.nsmallest(count, counted, key=lambda one: one.rank)
    return weakest, next(total)


def _each_once(weak: Iterable[Weakness]) -> Iterator[Weakness]:
    """The weakest answer of each case, of those of its epochs."""
    found: dict[str, Weakness] = {}
    for one in weak:
        if one.row.case not in found or one.rank < found[one.row.case].rank:
            found[one.row.case] = one
    yield from found.values()


def _weakness(row: Result, variant: str) -> Weakness | None:
    answer = row.completions.get(variant)
    known = {metric: row.score(metric, variant) for metric in LEADING_METRICS}
    scores = {metric: value for metric, value in known.items() if value is not None}
    failed = answer is not None and not scores and not answer.answered
    if not failed and row.outcome != "failed" and all(value >= _FULL for value in scores.values()):
        return None
    before = [row.scores[metric].get(BASE) for metric in scores]
    losses = [old - new for old, new in zip(before, scores.values(), strict=True) if old is not None]
    return Weakness(row, scores, failed, mean(losses) or 0.0)
