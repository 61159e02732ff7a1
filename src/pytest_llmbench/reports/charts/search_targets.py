"""Several targets side by side: their limits, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.document import QuestionName, TargetLimits
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_axes import LINES, level_axis, target_colour
from pytest_llmbench.reports.serving.answers import number_text
from pytest_llmbench.reports.serving.words import QUESTION_TITLES, ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_CELLS = 30


def compare_limits(axes: Axes, question: QuestionName, targets: Sequence[TargetLimits], say: ServingWords) -> None:
    """The limit of each target with its interval."""
    canvas.title(axes, say("Limits by target: {question}", question=say(QUESTION_TITLES[question])))
    asked = [(place, target) for place, target in enumerate(targets) if question in target.findings]
    for row, (place, target) in enumerate(asked):
        finding, colour = target.findings[question], target_colour(place)
        axes.plot([finding.low, finding.high], [row, row], color=colour, linewidth=7, alpha=0.35)
        axes.plot([finding.value], [row], "o", color=colour, markersize=9)
        axes.annotate(
            number_text(finding, say),
            (finding.value, row),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=10,
            fontweight="bold",
        )
    names = [shorten_middle(target.name, _NAME_CELLS) for _, target in asked]
    axes.set_yticks(range(len(asked)), names, parse_math=False)
    axes.set_ylim(len(asked) - 0.5, -0.7)
    highest = max(max(found.value, found.high) for _, target in asked for found in [target.findings[question]])
    axes.set_xlim(0, 1.08 * highest or 1.0)
    level_axis(axes, question, say, "")


def compare_curves(axes: Axes, question: QuestionName, targets: Sequence[TargetLimits], say: ServingWords) -> None:
    """The fitted curves of all targets together."""
    canvas.title(axes, say("Share of good answers by target"))
    for place, target in enumerate(targets):
        finding = target.findings.get(question)
        if finding is None or not finding.curve:
            continue
        levels = [point.level for point in finding.curve]
        lows, highs = [point.low for point in finding.curve], [point.high for point in finding.curve]
        axes.fill_between(levels, lows, highs, color=target_colour(place), alpha=0.13, linewidth=0)
        axes.plot(
            levels,
            [point.share for point in finding.curve],
            color=target_colour(place),
            linestyle=LINES[place % len(LINES)],
            linewidth=1.8,
            label=canvas.entry(shorten_middle(target.name, _NAME_CELLS)),
        )
        axes.axhline(finding.wanted_share, color=canvas.INK, linewidth=0.9, linestyle="--", zorder=1)
    axes.set_ylim(-0.04, 1.06)
    axes.yaxis.set_major_formatter(lambda value, _: say.share(round(value, 3)))
    level_axis(axes, question, say, say("share of good answers"))
    canvas.legend(axes, columns=2)
