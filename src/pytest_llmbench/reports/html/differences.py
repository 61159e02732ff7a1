"""Per-case differences: a chart for each metric that judges and each adapter."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.charts.differences import Differences, differences, differences_in_page, middle_of
from pytest_llmbench.reports.pairing import metrics_in_order
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.typed import RunDocument

MOST_PLOTS = 12


@dataclasses.dataclass(frozen=True, slots=True)
class DifferencePlot:
    """The sorted differences of one metric for one adapter, as SVG."""

    label: str
    adapter: str
    chart: str


@dataclasses.dataclass(frozen=True, slots=True)
class DifferencePlots:
    """The plots, and how many more there would have been."""

    shown: Sequence[DifferencePlot]
    left_out: int


def difference_plots(document: RunDocument, say: Words) -> DifferencePlots:
    """One plot for each metric that judges and each adapter; every metric where none of those has pairs."""
    metrics = metrics_in_order(document)
    leading = list(_compared(document, [name for name in metrics if name in LEADING_METRICS]))
    found = leading or list(_compared(document, metrics))
    shown = [_plot(document, place, adapter, one, say) for place, (adapter, one) in enumerate(found[:MOST_PLOTS])]
    return DifferencePlots(shown, len(found) - len(shown))


def _compared(document: RunDocument, metrics: Sequence[str]) -> Iterator[tuple[str, Differences]]:
    for adapter in document.adapters:
        found = (differences(document, adapter, metric) for metric in metrics)
        yield from ((adapter, one) for one in found if one.changes)


def _plot(document: RunDocument, place: int, adapter: str, found: Differences, say: Words) -> DifferencePlot:
    label, middle = say.metric(found.metric), middle_of(document, adapter, found, say)
    numbers = {"mean": say.number(middle.mean, signed=True), **found.tally()}
    summary = say(
        "{label}, {adapter}: mean difference {mean}; {better} improved, {same} unchanged, {worse} worse.",
        label=label,
        adapter=adapter,
        **numbers,
    )
    return DifferencePlot(label, adapter, differences_in_page(found, middle, f"d{place}", summary, say))
