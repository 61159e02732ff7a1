"""The figure of a tuning: the users that each trial's server held, with their intervals, and the best so far."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.charts import canvas

if TYPE_CHECKING:
    from pytest_llmbench.context.tuning.document import TuningDocument

_SIZE = (8.0, 4.2)


def save_tuning(document: TuningDocument, path: Path, say: Words) -> None:
    """Draw into `path` as PNG, 300 DPI. Trials without a measurement stand at zero."""
    with canvas.figure_of(*_SIZE) as figure:
        axes = figure.subplots()
        canvas.title(axes, say("Users held, trial by trial"))
        for trial in document.trials:
            held, measured = trial.held, trial.outcome == "measured"
            colour = canvas.BETTER if trial.number == document.winner else canvas.SAME if measured else canvas.WORSE
            if held is not None:
                axes.vlines(trial.number, held.low, held.high, color=colour, linewidth=1.8)
            mark = "o" if measured else "x"
            axes.plot([trial.number], [held.mean if held else 0.0], mark, color=colour, markersize=6)
        numbers = [trial.number for trial in document.trials]
        best = itertools.accumulate(
            (one.held.mean if one.held and one.outcome == "measured" else 0.0 for one in document.trials), max
        )
        axes.step(numbers, list(best), where="post", color=canvas.INK, linewidth=1.0, label=say("best so far"))
        axes.set_xlabel(say("Trial"))
        axes.set_ylabel(say("Users"))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(canvas.ticks(say))
        canvas.dress(axes, "y")
        canvas.legend(axes, columns=1)
        canvas.save_png(figure, path)
