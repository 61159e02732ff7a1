"""The charts of a search as a page shows them: each as SVG of its own, with what it shows in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.document import Finding, TemperatureGrid
from pytest_llmbench.reports.charts import search_curve, search_latency, search_temperature, search_timeline
from pytest_llmbench.reports.charts.search_series import groups_of
from pytest_llmbench.reports.charts.svg import drawing
from pytest_llmbench.reports.serving.answers import answer
from pytest_llmbench.reports.serving.words import ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = (4.8, 3.9)
_WIDE_INCHES = (9.0, 3.9)
_MOST_DOTS = 1500  # a page is read over the network, too


def curve_in_page(finding: Finding, name: str, say: ServingWords, *, small: bool = False) -> str:
    """The share of good answers by level; a small one says less around it."""
    label = say("{answer}. {trials}.", answer=answer(finding, say), trials=say.trials(len(finding.trials)))
    return _single(
        name, label, lambda axes: (search_curve.small_curve if small else search_curve.curve)(axes, finding, say)
    )


def latency_in_page(finding: Finding, name: str, say: ServingWords) -> str:
    """The percentiles by level."""
    label = say("Latency percentiles by level, limit {limit}.", limit=say.limit(finding.slo.limit_s))
    return _single(name, label, lambda axes: search_latency.latency(axes, finding, say))


def timeline_in_page(finding: Finding, name: str, say: ServingWords) -> str:
    """The whole search."""
    label = timeline_summary(finding, say)
    return drawing(name, label, _WIDE_INCHES, lambda figure: search_timeline.timeline(figure, finding, say, _MOST_DOTS))


def timeline_summary(finding: Finding, say: ServingWords) -> str:
    """How many requests came out how, also of those that are not listed one by one, and how long it took."""
    good = sum(trial.good for trial in finding.trials)
    failed = sum(sum(trial.errors.values()) for trial in finding.trials)
    return say(
        "{good} good, {late} late and {failed} failed requests over {duration}.",
        good=good,
        late=sum(trial.total for trial in finding.trials) - good - failed,
        failed=failed,
        duration=say.seconds(finding.duration_s),
    )


def temperatures(grid: TemperatureGrid, name: str, say: ServingWords) -> list[str]:
    """One chart of the metrics between 0 and 1, and one of each other."""

    def one(place: int, metrics: list[str]) -> str:
        label = say("{name}: {value}", name=say("Quality by temperature"), value=", ".join(map(say.metric, metrics)))
        return _single(f"{name}{place}", label, lambda axes: search_temperature.temperature(axes, grid, metrics, say))

    return [one(place, metrics) for place, metrics in enumerate(groups_of(grid))]


def _single(name: str, label: str, draw: Callable[[Axes], None]) -> str:
    return drawing(name, label, _INCHES, lambda figure: draw(figure.subplots()))
