"""What the charts of a search share: axes of levels and seconds, the limit's interval, a target's colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.autotune.document import Finding
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_series import reach_of
from pytest_llmbench.reports.serving.words import AXES, ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LineStyle = Literal["-", "--", "-.", ":"]
LINES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")
_LOG_FROM = 25.0  # times the least


def seconds_axis(axes: Axes, values: Sequence[float], say: ServingWords) -> None:
    """Seconds from zero, or on a logarithmic axis when they differ too much to be read on one."""
    positive = [value for value in values if value > 0]
    if max(positive) > _LOG_FROM * sorted(positive)[len(positive) // 20]:
        axes.set_yscale("log")
        canvas.log_ticks(axes.yaxis, say)
    else:
        axes.set_ylim(0, 1.08 * max(positive))
        axes.yaxis.set_major_formatter(canvas.ticks(say))


def level_axis(axes: Axes, question: str, say: ServingWords, y: str) -> None:
    """Whole levels have whole ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=question != "rate"))
    dress_axis(axes, say(AXES[question]), y, say)


def dress_axis(axes: Axes, x: str, y: str, say: ServingWords) -> None:
    """What both axes measure, and a grid."""
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)
    axes.xaxis.set_major_formatter(canvas.ticks(say))
    canvas.dress(axes)


def limit_band(axes: Axes, finding: Finding) -> None:
    """The interval of the limit, as far as levels are shown."""
    end = max(finding.value, min(finding.high, reach_of(finding)[1]))
    axes.axvspan(finding.low, end, color=canvas.LIMIT_BAND, alpha=0.28, linewidth=0, zorder=0)


def target_colour(place: int) -> str:
    """The colour of a target, the same in every panel."""
    return (*canvas.VARIANTS[1:], canvas.VARIANTS[0])[place % len(canvas.VARIANTS)]
