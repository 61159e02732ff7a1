"""The comparison of trainings as one picture: their curves, and the table of their figures below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.finetune.comparison import Language, Trained, comparison_notes, figures_table
from pytest_llmbench.reports.charts import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = ("-", "--", ":", "-.")
_MARKERS = "os^Dvx"
_MARKED = 12  # markers on each curve
_DPI = 120  # of a picture that is looked at beside its table, not printed
_ROW = 0.26  # inches
_CELL = 26  # characters


def draw_comparison(trainings: Sequence[Trained], path: Path, language: Language = "en") -> None:
    """Write a PNG of each training's loss over its steps, with the figures and what limits them below."""
    from pytest_llmbench.core.files import replacing

    below = [part for note in comparison_notes(trainings, language) for part in textwrap.wrap(note, 110)]
    heights = (4.2, _ROW * (len(figures_table(trainings, language)) + 1 + len(below)))
    with canvas.figure_of(max(9.0, 2.6 * (len(trainings) + 2)), sum(heights) + 0.4) as figure:
        curves, figures = figure.subplots(2, 1, height_ratios=heights)
        _draw_curves(curves, trainings, words(language))
        _draw_table(figures, trainings, language)
        if below:
            figure.supxlabel("\n".join(below), fontsize=9, parse_math=False)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI)


def _draw_curves(axes: Axes, trainings: Sequence[Trained], say: Words) -> None:
    """Equal curves both stay to be seen: they differ in dashes, width and where their markers stand."""
    for number, training in enumerate(trainings):
        steps = training.record.steps
        apart = max(1, len(steps) // _MARKED)
        (drawn,) = axes.plot(
            [step.step for step in steps],
            [step.loss for step in steps],
            label=canvas.entry(training.name),
            linestyle=_DASHES[number % len(_DASHES)],
            linewidth=2.6 if number == 0 else 1.6,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            markevery=(number * apart // len(trainings), apart),
        )
        if measured := training.record.validation:
            axes.plot(
                [one.step for one in measured],
                [one.loss for one in measured],
                label=canvas.entry(f"{training.name}, {say('validation')}"),
                color=drawn.get_color(),
                linestyle=(0, (1, 3)),
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=9,
                markerfacecolor="none",
            )
    axes.set_title(say("Training loss"))
    axes.set_xlabel(say("step"))
    axes.set_ylabel(say("loss (nats a token)"))
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    canvas.as_written(axes.legend())


def _draw_table(axes: Axes, trainings: Sequence[Trained], language: Language) -> None:
    """The figures, with the best of each in bold."""
    from matplotlib.transforms import Bbox

    axes.set_axis_off()
    names = [training.name for training in trainings]
    say, lines = words(language), figures_table(trainings, language)
    rows = [
        ("", *names, say.in_context("training", "best")),
        *((line.title, *line.values, line.best) for line in lines),
    ]
    drawn = axes.table([[title, *map(_short, texts)] for title, *texts in rows], cellLoc="left", bbox=Bbox.unit())
    drawn.auto_set_font_size(value=False)
    drawn.set_fontsize(9)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor("0.85")
        cell.get_text().set_parse_math(False)
        if row == 0 or (0 < column <= len(names) and lines[row - 1].best == names[column - 1]):
            cell.get_text().set_fontweight("bold")


def _short(text: str) -> str:
    return text if len(text) <= _CELL else f"{text[: _CELL - 1]}…"
