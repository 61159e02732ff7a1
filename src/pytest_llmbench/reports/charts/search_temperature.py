"""Scores by temperature, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.document import TemperatureGrid
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_axes import LINES, dress_axis, target_colour
from pytest_llmbench.reports.serving.words import ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_CELLS = 30


def temperature(axes: Axes, grid: TemperatureGrid, metrics: Sequence[str], say: ServingWords, name: str = "") -> None:
    """Means of some metrics by temperature with their intervals, set a little apart so that none hides another."""
    heading = say("Quality by temperature")
    canvas.title(axes, f"{heading}\n{shorten_middle(name, _NAME_CELLS)}" if name else heading)
    values = [point.temperature for point in grid.points]
    room = (max(values) - min(values) or 1.0) * 0.012
    for place, metric in enumerate(metrics):
        scores = [point.scores.get(metric) for point in grid.points]
        known = [(at, score) for at, score in zip(values, scores, strict=True) if score and score.mean is not None]
        means = [score.mean for _, score in known if score.mean is not None]
        reaches = [  # none where a temperature has no interval
            [0.0 if end is None else abs(mean - end) for mean, end in zip(means, ends, strict=True)]
            for ends in ([score.low for _, score in known], [score.high for _, score in known])
        ]
        axes.errorbar(
            [at + (place - (len(metrics) - 1) / 2) * room for at, _ in known],
            means,
            yerr=reaches,
            color=target_colour(place),
            linestyle=LINES[place % len(LINES)],
            marker="osD^v"[place % 5],
            markersize=5,
            capsize=3,
            linewidth=1.4,
            label=canvas.entry(say.metric(metric)),
        )
    if grid.best is not None:
        axes.axvline(grid.best, color=canvas.LIMIT, linewidth=1.2, zorder=1, label=say("best"))
    axes.yaxis.set_major_formatter(canvas.ticks(say))
    dress_axis(axes, say("temperature"), say("score"), say)
    canvas.legend(axes, columns=2)
