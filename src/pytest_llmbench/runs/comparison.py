"""What changed from the base to an adapter, read from a run document.

Differences are paired: only results that are scored for both variants count. This describes the cases of the run; it
is not a test of significance.
"""

from __future__ import annotations

import dataclasses
import enum

from pytest_llmbench.core.records import BASE
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.typed import Result, RunDocument

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
    """One result's score under the base and under the adapter."""

    row: Result
    base: float
    tuned: float

    @property
    def difference(self) -> float:
        """Adapter minus base."""
        return self.tuned - self.base


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """All paired changes of one metric between the base and one adapter."""

    metric: str
    base: str
    tuned: str
    changes: tuple[_Change, ...]

    @property
    def base_mean(self) -> float | None:
        """The base's mean over the pairs."""
        return mean(change.base for change in self.changes)

    @property
    def tuned_mean(self) -> float | None:
        """The adapter's mean over the pairs."""
        return mean(change.tuned for change in self.changes)

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
        gained = [change for change in self.changes if change.difference > 0]
        return sorted(gained, key=lambda change: (-change.difference, -change.tuned))[:count]

    def losses(self, count: int) -> list[_Change]:
        """The greatest losses, greatest first."""
        lost = [change for change in self.changes if change.difference < 0]
        return sorted(lost, key=lambda change: (change.difference, change.tuned))[:count]

    def within(self, category: str) -> Comparison:
        """The same comparison over one category."""
        inside = tuple(change for change in self.changes if change.row.category == category)
        return dataclasses.replace(self, changes=inside)

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
    changes = [
        _Change(row, base, own)
        for row in document.results
        if (base := row.score(metric, BASE)) is not None and (own := row.score(metric, tuned)) is not None
    ]
    return Comparison(metric, BASE, tuned, tuple(changes))


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
