"""The share of good answers by level of load, with the fitted curve, the trials and the limit."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pytest_llmbench.autotune.diagnosis.phases import valid_trials
from pytest_llmbench.autotune.document import Finding, TrialEntry
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_axes import level_axis, limit_band
from pytest_llmbench.reports.charts.search_series import point_share, reach_of
from pytest_llmbench.reports.serving.answers import answer, value_text
from pytest_llmbench.reports.serving.words import QUESTION_TITLES, VERDICTS, ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VERDICTS = {"held": (canvas.HELD, "o"), "undecided": (canvas.UNDECIDED, "s"), "broken": (canvas.BROKEN, "X")}
_NAME_CELLS = 30
_TITLE_CHARACTERS = 36


def curve(axes: Axes, finding: Finding, say: ServingWords) -> None:
    """The share of good answers against the level, the trials as points, the wanted share and the limit."""
    _curve(axes, finding, say, say("Share of good answers by level"))
    canvas.legend(axes, columns=3)


def small_curve(axes: Axes, finding: Finding, say: ServingWords, name: str = "") -> None:
    """The same for another question, without a legend; with the share of answers cut off where that is searched."""
    of = f"{shorten_middle(name, _NAME_CELLS)}\n" if name else ""
    _curve(axes, finding, say, of + textwrap.fill(_short_answer(finding, say), _TITLE_CHARACTERS))
    if cut := finding.cut_off:
        levels, shares = [one.level for one in cut], [one.share for one in cut]
        [line] = axes.plot(levels, shares, "D:", color=canvas.CUT_OFF, markersize=4, zorder=3)
        canvas.legend(axes, columns=1, handles=[line], labels=[say("cut off at the limit")])


def _curve(axes: Axes, finding: Finding, say: ServingWords, title: str) -> None:
    canvas.title(axes, title)
    low, high = reach_of(finding)
    limit_band(axes, finding)
    capacity = say("limit {value}, 95 % interval", value=value_text(finding, say))
    axes.axvline(finding.value, color=canvas.LIMIT, linewidth=1.4, zorder=1, label=capacity)
    wanted = say("wanted: {share}", share=say.wanted(finding.wanted_share))
    axes.axhline(finding.wanted_share, color=canvas.INK, linewidth=1.1, linestyle="--", label=wanted, zorder=1)
    points = [point for point in finding.curve if point.level <= high]
    levels = [point.level for point in points]
    lows, highs = [point.low for point in points], [point.high for point in points]
    axes.fill_between(levels, lows, highs, color=canvas.HELD, alpha=0.16, linewidth=0, label=say("95 % band"), zorder=2)
    axes.plot(
        levels,
        [point.share for point in points],
        color=canvas.HELD,
        linewidth=1.8,
        label=say("fitted curve"),
        zorder=3,
    )
    _trial_points(axes, finding, say)
    margin = 0.04 * (high - low) or 0.5
    axes.set_xlim(min(low, levels[0] if levels else low) - margin, high + margin)
    axes.set_ylim(-0.04, 1.06)
    axes.yaxis.set_major_formatter(lambda value, _: say.share(round(value, 3)))
    level_axis(
        axes,
        finding.question,
        say,
        say("share of trials without a bad answer") if finding.slo.is_strict else say("share of good answers"),
    )


def _trial_points(axes: Axes, finding: Finding, say: ServingWords) -> None:
    for verdict, (colour, marker) in _VERDICTS.items():
        own = [trial for trial in valid_trials(finding) if trial.verdict == verdict]
        if own:
            marks = axes.scatter(
                [trial.level for trial in own],
                [point_share(finding, trial) for trial in own],
                s=[16 + 0.6 * min(trial.total, 150) for trial in own],
                c=colour,
                marker=marker,
                edgecolors=canvas.PAPER,
                linewidths=0.7,
                alpha=0.85,
                zorder=4,
                label=say("trial: {verdict}", verdict=say(VERDICTS[verdict])),
            )
            canvas.titled(marks, [_trial_title(trial, say) for trial in own])


def _trial_title(trial: TrialEntry, say: ServingWords) -> str:
    verdict = say(VERDICTS[trial.verdict])
    return f"{say.plain(trial.level)}: {trial.good}/{trial.total}, {verdict}"


def _short_answer(finding: Finding, say: ServingWords) -> str:
    if not finding.held:
        return answer(finding, say)
    question = finding.question
    return say("{name}: {value}", name=say(QUESTION_TITLES[question]), value=value_text(finding, say))
