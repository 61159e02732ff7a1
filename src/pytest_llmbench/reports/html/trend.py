"""How the means moved over the saved runs, this one last."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.html.scale import Scale, scale_over
from pytest_llmbench.runs.averages import asked_alike, comparable_lines, in_short
from pytest_llmbench.runs.comparison import LEADING_METRICS

_MOST_LABELS = 8
_ROUNDING = 2
_NUMBER = re.compile(r"\d+(?=_)")


@dataclasses.dataclass(frozen=True, slots=True)
class TrendRun:
    """One run: where it stands on the time axis in percent, its short label where there is room for one.

    `alike` says whether it asked the same cases as the last one: only then can their means be compared.
    """

    name: str
    label: str
    timestamp: str
    outcome: str | None
    x: float
    alike: bool


@dataclasses.dataclass(frozen=True, slots=True)
class TrendLine:
    """One variant's means, run by run. `segments` are runs of neighbouring points, as SVG `points`, in percent."""

    variant: str
    values: Sequence[float | None]
    segments: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class TrendChart:
    """One metric over the runs."""

    label: str
    scale: Scale
    lines: Sequence[TrendLine]


@dataclasses.dataclass(frozen=True, slots=True)
class Trend:
    """All charts over the same runs. `note` says what marks the runs that cannot be compared, where there are some."""

    note: str | None
    runs: Sequence[TrendRun]
    variants: Sequence[str]
    charts: Sequence[TrendChart]


def trend(document: Mapping[str, Any], history: Sequence[Mapping[str, Any]], say: Words) -> Trend | None:
    """The charts, or None with fewer than two runs. A run that was saved is not drawn twice."""
    timestamp = document["metadata"]["timestamp"]
    runs = [run for run in history if run["timestamp"] != timestamp or not timestamp]
    runs = [*runs, _this_run(document, say)]
    if len(runs) == 1:
        return None
    variants = list(
        dict.fromkeys([*document["metadata"]["variants"], *(name for run in runs for name in run["variants"])])
    )
    found = dict.fromkeys(metric for run in runs for means in run["variants"].values() for metric in means)
    metrics = [
        *(name for name in LEADING_METRICS if name in found),
        *(name for name in found if name not in LEADING_METRICS),
    ]
    places = [round(100 * (place + 0.5) / len(runs), _ROUNDING) for place in range(len(runs))]
    charts = [_chart(runs, places, variants, metric, say) for metric in metrics]
    shown = _labelled(runs, places)
    note = None if all(run.alike for run in shown) else say("trend_faded")
    return Trend(note, shown, variants, [chart for chart in charts if any(map(_moves, chart.lines))])


def _moves(line: TrendLine) -> bool:
    """Whether there are two points to compare; a single one is no trend."""
    return sum(value is not None for value in line.values) > 1


def _this_run(document: Mapping[str, Any], say: Words) -> Mapping[str, Any]:
    return in_short(say("this_run"), document)


def _labelled(runs: Sequence[Mapping[str, Any]], places: Sequence[float]) -> list[TrendRun]:
    """Every k-th run has its number under it, counted from the newest so that the newest always has one."""
    every = -(-len(runs) // _MOST_LABELS)
    return [
        TrendRun(
            name=run["name"],
            label=_short(run["name"]) if (len(runs) - 1 - place) % every == 0 else "",
            timestamp=run["timestamp"],
            outcome=run["outcome"],
            x=x,
            alike=asked_alike(run, runs[-1]),
        )
        for place, (run, x) in enumerate(zip(runs, places, strict=True))
    ]


def _short(name: str) -> str:
    number = _NUMBER.match(name)
    return number[0] if number else name


def _chart(
    runs: Sequence[Mapping[str, Any]], places: Sequence[float], variants: Sequence[str], metric: str, say: Words
) -> TrendChart:
    values = {name: [run["variants"].get(name, {}).get(metric) for run in runs] for name in variants}
    known = {name: series for name, series in values.items() if any(value is not None for value in series)}
    scale = scale_over(value for series in known.values() for value in series)
    lines = [TrendLine(name, series, _segments(runs, series, places, scale)) for name, series in known.items()]
    return TrendChart(say.metric(metric), scale, lines)


def _segments(
    runs: Sequence[Mapping[str, Any]], values: Sequence[float | None], places: Sequence[float], scale: Scale
) -> list[str]:
    """A gap stays a gap: no line leads over a run that lacks the variant, nor between runs that asked other cases."""
    segments: list[list[str]] = []
    for line in comparable_lines(runs):
        segments.append([])
        for place in line:
            value = values[place]
            if value is None:
                segments.append([])
            else:
                segments[-1].append(f"{places[place]},{scale.from_top(value)}")
    return [" ".join(points) for points in segments if len(points) > 1]
