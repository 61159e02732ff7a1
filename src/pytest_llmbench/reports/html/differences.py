"""Per-case differences, sorted, so that one look tells how many cases moved which way and how far."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.html.pairing import (
    Verdicts,
    case_differences,
    change,
    metrics_in_order,
    verdicts_against_base,
)
from pytest_llmbench.reports.html.scale import Scale, farthest, symmetric
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.comparison import LEADING_METRICS, adapters, higher_is_better

MOST_PLOTS = 12
_MOST_STEPS = 400  # more than a plot has pixels; beyond, every k-th of the sorted cases is drawn


@dataclasses.dataclass(frozen=True, slots=True)
class DifferencePlot:
    """The sorted differences of one metric for one adapter: SVG paths, a step a case, in units of the metric."""

    label: str
    adapter: str
    scale: Scale
    steps: int
    rising: str
    falling: str
    rising_is: str
    falling_is: str
    counts: Mapping[str, int]
    cases: int
    mean: float
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class DifferencePlots:
    """The plots, and how many more there would have been."""

    shown: Sequence[DifferencePlot]
    left_out: int


def difference_plots(document: Mapping[str, Any], say: Words) -> DifferencePlots:
    """One plot for each metric that judges and each adapter; every metric where none of those has pairs."""
    verdicts = verdicts_against_base(document)
    metrics = metrics_in_order(document)
    leading = list(_plots(document, [name for name in metrics if name in LEADING_METRICS], verdicts, say))
    plots = leading or list(_plots(document, metrics, verdicts, say))
    return DifferencePlots(plots[:MOST_PLOTS], max(len(plots) - MOST_PLOTS, 0))


def _plots(
    document: Mapping[str, Any], metrics: Sequence[str], verdicts: Verdicts, say: Words
) -> Iterable[DifferencePlot]:
    for adapter in adapters(document):
        for metric in metrics:
            found = case_differences(document, metric, adapter)
            values = sorted(value for cases in found.values() for value in cases.values())
            if values:
                higher, verdict = higher_is_better(document, metric), verdicts.get((adapter, metric, None))
                yield _plot(values, say.metric(metric), adapter, verdict, higher=higher)


def _plot(
    values: Sequence[float], label: str, adapter: str, verdict: Mapping[str, Any] | None, *, higher: bool
) -> DifferencePlot:
    low, high = (None, None) if verdict is None else (verdict["low"], verdict["high"])
    counts = Counter(change(value, higher=higher) for value in values)
    drawn = _thinned(values)
    return DifferencePlot(
        label=label,
        adapter=adapter,
        scale=symmetric([*values, low, high], most=farthest(map(abs, values))),
        steps=len(drawn),
        rising=_steps([max(value, 0.0) for value in drawn]),
        falling=_steps([min(value, 0.0) for value in drawn]),
        rising_is="better" if higher else "worse",
        falling_is="worse" if higher else "better",
        counts={name: counts[name] for name in ("better", "same", "worse")},
        cases=len(values),
        mean=mean(values) or 0.0,
        low=low,
        high=high,
    )


def _thinned(values: Sequence[float]) -> Sequence[float]:
    """The middle case of each of at most `_MOST_STEPS` equal shares, so that shares stay true."""
    if len(values) <= _MOST_STEPS:
        return values
    return [values[int((place + 0.5) * len(values) / _MOST_STEPS)] for place in range(_MOST_STEPS)]


def _steps(values: Sequence[float]) -> str:
    """An SVG path around the steps, upwards positive: SVG's y grows downwards."""
    outline = "".join(f"V{-value:.6g}H{place + 1}" for place, value in enumerate(values))
    return f"M0 0{outline}V0Z"
