"""The page's drawings as numbers in percent of their own width and height."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmbench.autotune.diagnosis.phases import Finding, Trial
from pytest_llmbench.reports.charts.search_series import (
    PERCENTILES,
    dots,
    latencies,
    point_share,
    reach,
    shares_of_one,
    spans,
    tried,
)
from pytest_llmbench.reports.html.scale import Scale, scale_over
from pytest_llmbench.reports.serving.words import ServingWords

_MOST_DOTS = 1500
_TALLEST = 4.0  # times the limit: what took longer is drawn at the upper edge
_OVER_A_SPAN = {"held": "good", "undecided": "unsure", "broken": "bad", "invalid": "zero"}
_LEAST_RADIUS, _RADIUS_A_ROOT = 3.0, 0.28


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """The share of good answers by level: SVG points of the fitted line and of its band, a mark a trial."""

    x: Scale
    y: Scale
    line: str
    band: str
    low: float
    high: float
    value: float
    wanted: float
    marks: Sequence[Mapping[str, Any]]
    cut: str


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles by level, a line each, and the limit."""

    x: Scale
    y: Scale
    limit: float
    lines: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Timeline:
    """Every request and every trial of a search over its time."""

    x: Scale
    y: Scale
    levels: Scale
    limit: float
    dots: Sequence[tuple[float, float, str]]
    spans: Sequence[Mapping[str, Any]]
    step: int
    counts: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Scores:
    """Metrics by temperature: a line each, and the intervals."""

    x: Scale
    y: Scale
    lines: Sequence[tuple[str, str]]
    bars: Sequence[tuple[int, float, float, float, float]]
    best: float | None


def curve(finding: Finding, say: ServingWords) -> Curve:
    """The curve of a finding."""
    x, y = scale_over([0.0, reach(finding)[1]]), Scale(0.0, 1.0, 0.2)
    shown = [point for point in finding["curve"] if point["level"] <= x.high]
    upper = [(point["level"], point["high"]) for point in shown]
    lower = [(point["level"], point["low"]) for point in reversed(shown)]
    return Curve(
        x=x,
        y=y,
        line=_points(x, y, [(point["level"], point["share"]) for point in shown]),
        band=_points(x, y, [*upper, *lower]),
        low=x.at(finding["low"]),
        high=x.at(finding["high"]),
        value=x.at(finding["value"]),
        wanted=y.from_top(finding["wanted_share"]),
        marks=[_mark(finding, trial, x, y, say) for trial in tried(finding)],
        cut=_points(x, y, [(one["level"], one["share"]) for one in finding["cut_off"] or ()]),
    )


def _mark(finding: Finding, trial: Trial, x: Scale, y: Scale, say: ServingWords) -> dict[str, Any]:
    return {
        "x": x.at(trial["level"]),
        "y": y.from_top(point_share(finding, trial)),
        "r": round(_LEAST_RADIUS + _RADIUS_A_ROOT * trial["total"] ** 0.5, 1),
        "verdict": trial["verdict"],
        "title": f"{say.plain(trial['level'])}: {trial['good']}/{trial['total']}, {say('verdict_' + trial['verdict'])}",
    }


def latency(finding: Finding) -> Latency:
    """The percentiles of a finding."""
    found, limit_s = latencies(finding), finding["slo"]["limit_s"]
    x = scale_over([0.0, reach(finding)[1]])
    y = _seconds([value for values in found.values() for value in values], limit_s)
    lines = {
        f"p{percentile}": _points(x, y, [(level, values[place]) for level, values in found.items()])
        for place, percentile in enumerate(PERCENTILES)
    }
    return Latency(x, y, y.from_top(limit_s), lines)


def timeline(finding: Finding) -> Timeline:
    """The whole search of a finding."""
    shown, step = dots(finding, _MOST_DOTS)
    trials, limit_s = spans(finding), finding["slo"]["limit_s"]
    end_s = max((span.end_s for span in trials), default=1.0)
    x = dataclasses.replace(scale_over([0.0, 1.000001, end_s]), high=end_s)
    y, levels = _seconds([dot.latency_s for dot in shown], limit_s), scale_over([span.level for span in trials])
    every, _ = dots(finding, 10**9)
    return Timeline(
        x=x,
        y=y,
        levels=levels,
        limit=y.from_top(limit_s),
        dots=[(x.at(dot.at_s), y.from_top(dot.latency_s), dot.outcome) for dot in shown],
        spans=[
            {
                "x": x.at(span.start_s),
                "width": round(x.at(span.end_s) - x.at(span.start_s), 2),
                "y": levels.from_top(span.level),
                "tone": _OVER_A_SPAN[span.verdict],
            }
            for span in trials
        ],
        step=step,
        counts={name: sum(dot.outcome == name for dot in every) for name in ("good", "late", "failed")},
    )


def scores(grid: Mapping[str, Any]) -> list[tuple[Scores, Sequence[str]]]:
    """One drawing of the metrics between 0 and 1, and one for each other, with their names."""
    shared, others = shares_of_one(grid)
    return [(_scores(grid, group), group) for group in ([shared] if shared else []) + [[metric] for metric in others]]


def _scores(grid: Mapping[str, Any], metrics: Sequence[str]) -> Scores:
    found = [
        [(point["temperature"], score) for point in grid["points"] if (score := point["scores"].get(metric))]
        for metric in metrics
    ]
    known = [[(at, score) for at, score in rows if score["mean"] is not None] for rows in found]
    x = scale_over([point["temperature"] for point in grid["points"]])
    y = scale_over(score[end] for rows in known for _, score in rows for end in ("low", "mean", "high"))
    bars = [
        (place, _apart(x.at(at), place, len(metrics)), y.from_top(score["mean"]), y.from_top(low), y.from_top(high))
        for place, rows in enumerate(known)
        for at, score in rows
        for low, high in [_interval(score)]
    ]
    lines = [
        (
            metric,
            " ".join(
                f"{_apart(x.at(at), place, len(metrics))},{y.from_top(score['mean'])}" for at, score in known[place]
            ),
        )
        for place, metric in enumerate(metrics)
    ]
    return Scores(x, y, lines, bars, None if grid["best"] is None else x.at(grid["best"]))


def _interval(score: Mapping[str, Any]) -> tuple[float, float]:
    if score["low"] is None or score["high"] is None:
        return score["mean"], score["mean"]
    return score["low"], score["high"]


def _apart(x: float, place: int, count: int) -> float:
    """A little beside each other, so that no interval hides another."""
    return round(x + (place - (count - 1) / 2) * 1.2, 2)


def _seconds(values: Iterable[float], limit_s: float) -> Scale:
    """From zero to the slowest, or to some limits where drowned answers would press all others to the floor."""
    tallest = min(max([*values, limit_s]), _TALLEST * limit_s)
    scale = scale_over([0.0, 1.000001, tallest])
    if scale.high < 2 * tallest:
        return scale
    steps = scale_over([0.0, 1000 * tallest + 1])  # in milliseconds: `scale_over` gives less than one the whole of it
    return Scale(0.0, steps.high / 1000, steps.step / 1000)


def _points(x: Scale, y: Scale, values: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x.at(level)},{y.from_top(value)}" for level, value in values)
