"""The whole search over its time: every request, and the level of load under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune.document import Finding
from pytest_llmbench.core.locale import N_
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_axes import dress_axis, seconds_axis
from pytest_llmbench.reports.charts.search_series import MOST_DOTS, OUTCOMES, dots
from pytest_llmbench.reports.serving.words import AXES, VERDICTS, ServingWords

_OUTCOME_NAMES = {
    "good": N_("good"),
    "late": N_("late"),
}

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_DOTS = {"good": (canvas.HELD, "o"), "late": (canvas.BROKEN, "^"), "failed": (canvas.FAILED, "x")}
_SHADES = {
    "held": (canvas.HELD, 0.14),
    "undecided": (canvas.UNDECIDED, 0.14),
    "broken": (canvas.BROKEN, 0.16),
    "invalid": (canvas.FAILED, 0.16),
}


def timeline(part: Figure | SubFigure, finding: Finding, say: ServingWords, most: int = MOST_DOTS) -> None:
    """Every request a dot where it was sent; under it the level of load, trials shaded by their verdict.

    Of very many good requests, at most about `most` are drawn; a large trial does not list all of its own.
    """
    above, below = part.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    canvas.title(above, say("The whole search: requests and load"))
    shown, total = dots(finding, most), sum(trial.total for trial in finding.trials)
    for name in OUTCOMES:
        own = [dot for dot in shown if dot.outcome == name]
        if own:
            colour, marker = _DOTS[name]
            above.scatter(
                [dot.at_s for dot in own],
                [dot.latency_s for dot in own],
                s=7 if name == "good" else 13,
                c=colour,
                marker=marker,
                linewidths=0.0 if name != "failed" else 0.9,
                alpha=0.75,
                label=say.in_context("answer", "failed") if name == "failed" else say(_OUTCOME_NAMES[name]),
                zorder=3,
            )
    limit_s = finding.slo.limit_s
    above.axhline(
        limit_s,
        color=canvas.BROKEN,
        linewidth=1.0,
        linestyle="--",
        label=say("limit {limit}", limit=say.limit(limit_s)),
    )
    seconds_axis(above, [dot.latency_s for dot in shown] + [limit_s], say)
    for trial in finding.trials:
        began_s, ended_s = trial.started_s, trial.started_s + trial.duration_s
        for axes in (above, below):
            colour, depth = _SHADES[trial.verdict]
            axes.axvspan(began_s, ended_s, color=colour, alpha=depth, linewidth=0, zorder=0)
        below.plot([began_s, ended_s], [trial.level] * 2, color=canvas.INK, linewidth=2.2)
    below.set_ylim(bottom=0)
    below.margins(y=0.25)
    below.set_ylim(bottom=0)
    dress_axis(above, "", say("seconds"), say)
    dress_axis(below, say("seconds since the search began"), say(AXES[finding.question]), say)
    above.tick_params(axis="x", labelbottom=False, length=0)
    handles, labels = above.get_legend_handles_labels()
    handles += [_patch(*_SHADES[name]) for name in _seen(finding)]
    labels += [say("trial: {verdict}", verdict=say(VERDICTS[name])) for name in _seen(finding)]
    if len(shown) < total:
        handles.append(_patch(canvas.PAPER, 0.0))
        numbers = {"count": say.count(len(shown)), "total": say.count(total)}
        labels.append(say("{count} of {total} requests are drawn.", **numbers))
    canvas.legend(below, columns=8, handles=handles, labels=labels)


def _seen(finding: Finding) -> list[str]:
    verdicts = {trial.verdict for trial in finding.trials}
    return [name for name in _SHADES if name in verdicts]


def _patch(colour: str, depth: float) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, alpha=depth, linewidth=0.5)
