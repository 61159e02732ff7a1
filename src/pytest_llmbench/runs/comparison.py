"""What changed from the base to an adapter, read from a run document.

Differences are paired: only results that are scored for both variants count, but in means that are a verdict's own
(`judged`), which counts lost answers too. This describes the cases of the run; it is not a test of significance.
"""

from __future__ import annotations

import dataclasses
import enum
import heapq
import math
from array import array
from collections.abc import Sequence
from typing import overload

from pytest_llmbench.core.records import BASE
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.typed import Result, RunDocument, ScoreColumns

EFFECTIVE_ABOVE = 0.10
MODERATE_FROM = 0.05
LEADING_METRICS = ("relevance", "keywords", "tool_accuracy", "call_accuracy")
"""What a comparison is judged on: the first of these that has scores."""

SPEED_METRICS = ("latency_s", "tokens_per_s")

_LOWER_IS_BETTER = frozenset({"latency_s"})
_ROUNDING = 9  # (0.66 - 0.60) / 0.60 is 10 %, not a hair above


class Grade(enum.StrEnum):
    """The reference's three grades of an improvement's size; whether there is one is the verdict's to say."""

    EFFECTIVE = "effective"
    MODERATE = "moderate"
    INSUFFICIENT = "insufficient"

    @property
    def symbol(self) -> str:
        """The grade's mark in reports."""
        return {"effective": "✓", "moderate": "~", "insufficient": "✗"}[self.value]


@dataclasses.dataclass(frozen=True, slots=True)
class _Change:
    """One result's score under the base and under the adapter; `place` is the result's among `results`."""

    results: Sequence[Result]
    place: int
    case: str
    category: str
    base: float
    tuned: float

    @property
    def row(self) -> Result:
        """The result."""
        return self.results[self.place]

    @property
    def difference(self) -> float:
        """Adapter minus base."""
        return self.tuned - self.base


@dataclasses.dataclass(frozen=True, slots=True)
class _Changes(Sequence[_Change]):
    """Changes as arrays: their `places` in the document's columns, and the scores there."""

    results: Sequence[Result]
    columns: ScoreColumns
    places: array[int]
    base: array[float]
    tuned: array[float]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, at: int) -> _Change: ...
    @overload
    def __getitem__(self, at: slice) -> list[_Change]: ...
    def __getitem__(self, at: int | slice) -> _Change | list[_Change]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        place = self.places[at]
        case, category = self.columns.cases[place], self.columns.categories[place]
        return _Change(self.results, place, case, category, self.base[at], self.tuned[at])

    def within(self, category: str) -> _Changes:
        """Those of one category."""
        inside = [at for at, place in enumerate(self.places) if self.columns.categories[place] == category]
        places = array("L", (self.places[at] for at in inside))
        base, tuned = (array("d", (side[at] for at in inside)) for side in (self.base, self.tuned))
        return _Changes(self.results, self.columns, places, base, tuned)


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """All paired changes of one metric between the base and one adapter.

    `judged` are the means of both that a verdict rests on, where it counts answers that were lost.
    """

    metric: str
    base: str
    tuned: str
    changes: _Changes
    judged: tuple[float, float] | None = None

    @property
    def base_mean(self) -> float | None:
        """The base's mean, over the pairs or as it was judged."""
        return self.judged[0] if self.judged else mean(self.changes.base)

    @property
    def tuned_mean(self) -> float | None:
        """The adapter's mean, over the pairs or as it was judged."""
        return self.judged[1] if self.judged else mean(self.changes.tuned)

    @property
    def gain(self) -> float | None:
        """Relative improvement of the mean; where the base's mean is zero, the adapter's mean itself (points)."""
        if self.base_mean is None or self.tuned_mean is None:
            return None
        improvement = relative(self.base_mean, self.tuned_mean)
        return self.tuned_mean if improvement is None else improvement

    @property
    def in_points(self) -> bool:
        """Whether `gain` is in points of the score because the base's mean is zero."""
        return self.base_mean == 0

    @property
    def grade(self) -> Grade | None:
        """The grade of `gain`: above 10 % effective, from 5 % moderate, else insufficient; None without pairs."""
        if self.gain is None:
            return None
        gain = round(self.gain, _ROUNDING)
        if gain > EFFECTIVE_ABOVE:
            return Grade.EFFECTIVE
        return Grade.MODERATE if gain >= MODERATE_FROM else Grade.INSUFFICIENT

    def improvements(self, count: int) -> list[_Change]:
        """The greatest gains, greatest first."""
        gained = (change for change in self.changes if change.difference > 0)
        return heapq.nsmallest(count, gained, key=lambda change: (-change.difference, -change.tuned))

    def within(self, category: str) -> Comparison:
        """The same comparison over one category."""
        return dataclasses.replace(self, changes=self.changes.within(category), judged=None)

    def tally(self) -> tuple[int, int, int]:
        """How many results improved, stayed and got worse."""
        better = sum(change.difference > 0 for change in self.changes)
        worse = sum(change.difference < 0 for change in self.changes)
        return better, len(self.changes) - better - worse, worse


def relative(base: float | None, tuned: float | None) -> float | None:
    """`(tuned - base) / |base|`, or None where either is unscored or the base is zero."""
    return None if base is None or tuned is None or base == 0 else (tuned - base) / abs(base)


def leading_metric(document: RunDocument, variant: str) -> str | None:
    """The metric that judges `variant`, or None where none of them is scored."""
    return next((name for name in LEADING_METRICS if document.statistics.is_scored(name, variant)), None)


def higher_is_better(document: RunDocument, metric: str) -> bool:
    """What the run says of the metric; old runs do not say, and of the built-in metrics only latency is a cost."""
    about = document.metadata.metrics.get(metric)
    return metric not in _LOWER_IS_BETTER if about is None or about.higher_is_better is None else about.higher_is_better


def compare_variants(document: RunDocument, tuned: str, metric: str | None = None) -> Comparison | None:
    """Base against `tuned` on `metric` (the leading one when None); None where no metric can tell."""
    metric = metric or leading_metric(document, tuned)
    return (
        None
        if metric is None
        else document.once(("compared", tuned, metric), lambda: _compared(document, tuned, metric))
    )


def _compared(document: RunDocument, tuned: str, metric: str) -> Comparison:
    columns = document.score_columns
    base, own = columns.of(metric, BASE), columns.of(metric, tuned)
    places = array("L", (place for place, pair in enumerate(zip(base, own, strict=False)) if not _unpaired(*pair)))
    before, after = (array("d", (side[place] for place in places)) for side in (base, own))
    return Comparison(metric, BASE, tuned, _Changes(document.results, columns, places, before, after))


def _unpaired(base: float, own: float) -> bool:
    return math.isnan(base) or math.isnan(own)


def compared_metrics(document: RunDocument) -> list[str]:
    """The metrics by which variants may be held against each other.

    Without speed where answers shared batches: a short answer then waits for the long ones beside it.
    """
    hidden = SPEED_METRICS if document.largest_batch > 1 else ()
    return [metric for metric in document.statistics.metrics if metric not in hidden]


def weakest_category(document: RunDocument, variant: str) -> tuple[str, float] | None:
    """The category where `variant`'s leading metric is lowest, with that mean."""
    metric = leading_metric(document, variant)
    if metric is None:
        return None
    means = [(block.mean(metric, variant), name) for name, block in document.by_category.items()]
    lowest = min(((value, name) for value, name in means if value is not None), default=None)
    return (lowest[1], lowest[0]) if lowest else None
