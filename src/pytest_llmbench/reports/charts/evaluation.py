"""The figure of an evaluation: every comparison's effect with its interval, a panel for each pair of variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.benchmark.evaluation.document import ComparisonDocument, Evaluation
from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.charts import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"better": canvas.BETTER, "no difference shown": canvas.SAME, "worse": canvas.WORSE}
_MARKERS = {"better": "o", "no difference shown": "s", "worse": "v"}
_PANEL_INCHES = 4.6
_ROW_INCHES = 0.42
_LEAST_HEIGHT = 3.2


def save_evaluation(document: Evaluation, path: Path, say: Words) -> None:
    """Draw into `path` as PNG, 300 DPI. To the right of zero is better in every panel."""
    panels: dict[tuple[str, str], list[ComparisonDocument]] = {}
    for one in document.comparisons:
        panels.setdefault((one.variant, one.against), []).append(one)
    rows = max(map(len, panels.values()), default=0)
    height = max(_LEAST_HEIGHT, _ROW_INCHES * rows + 1.6)
    with canvas.figure_of(_PANEL_INCHES * max(1, len(panels)), height) as figure:
        if panels:
            axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
            for panel, ((variant, against), found) in zip(axes, panels.items(), strict=True):
                canvas.title(panel, f"{variant} / {against}")
                _draw(panel, found, say)
            better, interval = say("better by"), say("95 % interval")
            figure.supxlabel(f"{better} ({interval})", fontsize=9)
        else:
            canvas.nothing(figure.subplots(), say("There is nothing to compare: only one variant answered."))
        canvas.save_png(figure, path)


def _draw(axes: Axes, found: Sequence[ComparisonDocument], say: Words) -> None:
    axes.axvline(0, color=canvas.INK, linewidth=1.0, zorder=1)
    for place, one in enumerate(found):
        colour = _COLOURS[one.outcome]
        if one.low is not None and one.high is not None:
            axes.hlines(place, one.low, one.high, color=colour, linewidth=1.8)
        axes.plot([one.effect], [place], _MARKERS[one.outcome], color=colour, markersize=6)
    axes.set_yticks(range(len(found)), [say.metric(one.metric) for one in found], fontsize=9, parse_math=False)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(canvas.ticks(say))
    canvas.dress(axes, "x", hidden=("top", "right", "left"))
