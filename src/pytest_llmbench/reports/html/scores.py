"""Means by metric and category, ready to be drawn beside their numbers, and how the answers ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.html.scale import Scale, farthest, scale_over, symmetric
from pytest_llmbench.reports.pairing import (
    Verdicts,
    case_differences,
    metrics_in_order,
    relative_change,
    unit,
    verdicts_against_base,
)
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.comparison import LEADING_METRICS, higher_is_better
from pytest_llmbench.runs.typed import RunDocument, Statistics, VerdictDocument


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One adapter minus the base over some cases: as a gate measured it, with its interval, else the paired mean."""

    adapter: str
    value: float | None
    low: float | None
    high: float | None
    change: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreRow:
    """One category, or everything where `category` is None. `means` has every variant that the metric judges."""

    category: str | None
    results: int
    means: Mapping[str, float | None]
    differences: Sequence[Difference]


@dataclasses.dataclass(frozen=True, slots=True)
class MetricCard:
    """One metric: a row a category, the axis of its means and the axis of its differences."""

    metric: str
    label: str
    unit: str | None
    leading: bool
    higher_is_better: bool
    variants: Sequence[str]
    adapters: Sequence[str]
    rows: Sequence[ScoreRow]
    scale: Scale
    difference_scale: Scale
    unscored: Mapping[str, int]


def metric_cards(document: RunDocument, say: Words) -> list[MetricCard]:
    """A card for each metric of the run, those that judge first."""
    verdicts = verdicts_against_base(document)
    return [_card(document, metric, verdicts, say) for metric in metrics_in_order(document)]


def _card(document: RunDocument, metric: str, verdicts: Verdicts, say: Words) -> MetricCard:
    applied = document.statistics.metrics[metric]
    paired = [name for name in document.adapters if name in applied and BASE in applied]
    differences = {name: case_differences(document, metric, name) for name in paired}
    higher = higher_is_better(document, metric)
    is_whole = len(document.by_category) == 1  # the verdict over all is that of the only category

    def row(category: str | None, block: Statistics) -> ScoreRow:
        judged = None if is_whole else category
        changes = [
            _difference(_within(differences[name], category), name, verdicts.get((name, metric, judged)), higher=higher)
            for name in paired
        ]
        means = {name: block.mean(metric, name) for name in applied}
        return ScoreRow(category, block.total_tests, means, changes)

    rows = [row(None, document.statistics), *(row(name, block) for name, block in document.by_category.items())]
    return MetricCard(
        metric=metric,
        label=say.metric(metric),
        unit=unit(document, metric),
        leading=metric in LEADING_METRICS,
        higher_is_better=higher,
        variants=list(applied),
        adapters=paired,
        rows=rows,
        scale=scale_over(value for one in rows for value in one.means.values()),
        difference_scale=symmetric(
            (value for one in rows for item in one.differences for value in (item.value, item.low, item.high)),
            most=farthest(value for one in rows for value in one.means.values()),
        ),
        unscored={name: counts.unscored for name, counts in applied.items() if counts.unscored},
    )


def _within(differences: Mapping[str, Mapping[str, float]], category: str | None) -> list[float]:
    chosen = differences.values() if category is None else [differences.get(category, {})]
    return [value for cases in chosen for value in cases.values()]


def _difference(values: Sequence[float], adapter: str, verdict: VerdictDocument | None, *, higher: bool) -> Difference:
    value, low, high = mean(values), None, None
    if verdict is not None:  # its interval is of its own effect, which counts lost answers, and groups once
        value, low, high = verdict.effect, verdict.low, verdict.high
    return Difference(adapter, value, low, high, relative_change(value, higher=higher))
