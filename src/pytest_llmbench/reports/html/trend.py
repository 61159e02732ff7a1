"""How the means moved over the saved runs, this one last."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.charts.trend import legend_in_page, trend_in_page
from pytest_llmbench.reports.part_means import part_means
from pytest_llmbench.runs.averages import asked_alike, in_short
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.typed import RunDocument, RunPoint


@dataclasses.dataclass(frozen=True, slots=True)
class TrendRun:
    """One run. `alike` says whether it asked the same cases as the last one: only then can their means be compared."""

    name: str
    timestamp: str
    outcome: str | None
    alike: bool


@dataclasses.dataclass(frozen=True, slots=True)
class TrendChart:
    """One metric over the runs: the means of each variant that has any, run by run, and the chart as SVG."""

    label: str
    means: Mapping[str, Sequence[float | None]]
    chart: str


@dataclasses.dataclass(frozen=True, slots=True)
class Trend:
    """All charts over the same runs. `note` says which runs or means cannot be compared, where there are some."""

    note: str | None
    runs: Sequence[TrendRun]
    legend: str
    charts: Sequence[TrendChart]


def runs_of_trend(document: RunDocument, history: Sequence[RunPoint], say: Words) -> list[Any]:
    """The saved runs and this one, last. A run that was saved is not taken twice."""
    timestamp = document.metadata.timestamp
    saved = [run for run in history if run.timestamp != timestamp or not timestamp]
    return [*saved, in_short(say("this run"), document)]


def variants_of(document: RunDocument, runs: Sequence[RunPoint]) -> list[str]:
    """Every variant of a run, those of this one first."""
    return list(dict.fromkeys([*document.variants, *(name for run in runs for name in run.variants)]))


def trend_view(runs: Sequence[RunPoint], looks: Mapping[str, int], say: Words) -> Trend | None:
    """The charts, or None with fewer than two runs. `looks` numbers the colour of each variant."""
    if len(runs) == 1:
        return None
    found = dict.fromkeys(metric for run in runs for means in run.variants.values() for metric in means)
    metrics = [name for name in LEADING_METRICS if name in found]
    metrics += [name for name in found if name not in LEADING_METRICS]
    values = {metric: _values(runs, looks, metric) for metric in metrics}
    moving = [metric for metric in metrics if any(map(_moves, values[metric].values()))]
    charts = [
        TrendChart(say.metric(metric), values[metric], trend_in_page(runs, looks, metric, f"t{place}", say))
        for place, metric in enumerate(moving)
    ]
    shown = [TrendRun(run.name, run.timestamp, run.outcome, asked_alike(run, runs[-1])) for run in runs]
    notes = part_means(runs, say)
    if not all(run.alike for run in shown):
        notes.insert(0, say("Hollow marks are runs that asked other cases than this one: not comparable."))
    return Trend(" ".join(notes) or None, shown, legend_in_page(runs, looks, say) if charts else "", charts)


def _values(runs: Sequence[RunPoint], variants: Mapping[str, int], metric: str) -> dict[str, list[float | None]]:
    values = {name: [run.variants.get(name, {}).get(metric) for run in runs] for name in variants}
    return {name: series for name, series in values.items() if any(value is not None for value in series)}


def _moves(values: Sequence[float | None]) -> bool:
    """Whether there are two points to compare; a single one is no trend."""
    return sum(value is not None for value in values) > 1
