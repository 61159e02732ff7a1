"""The figure of a context run: the answer, and the panels of each server or model, those that have data."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.context_page import compared_pictures, fact_pictures, time_pictures
from pytest_llmbench.reports.context_words import answer_sentence
from pytest_llmbench.reports.serving.words import serving_words

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ContextDocument

_WIDTH_INCHES, _ROW_INCHES, _HEADING_INCHES = 16.0, 4.8, 0.9
_LINE_CHARACTERS = 130
_NAME_CELLS = 80


def draw_context(document: ContextDocument, path: Path, language: str) -> None:
    """Draw into `path` as PNG, 300 DPI: a row a target, and the comparison above where there are several.

    Raises:
        UsageError: the language is unknown.
    """
    say = serving_words(language)
    targets = document.targets
    rows = [("", compared_pictures(targets, say))] if len(targets) > 1 else []
    for target in targets:
        name = shorten_middle(target.name, _NAME_CELLS) if len(targets) > 1 else ""
        rows.append((name, [*time_pictures(target, say), *fact_pictures(target, say)]))
    rows = [row for row in rows if row[1]]
    with canvas.figure_of(_WIDTH_INCHES, _HEADING_INCHES + _ROW_INCHES * len(rows)) as figure:
        told = [answer_sentence(target, say) for target in targets]
        heading = "\n".join(line for text in told for line in textwrap.wrap(text, _LINE_CHARACTERS))
        figure.suptitle(heading, fontsize=13, fontweight="bold", parse_math=False)
        parts = figure.subfigures(max(1, len(rows)), 1, squeeze=False)[:, 0]
        for part, (name, pictures) in zip(parts, rows, strict=False):
            if name:
                part.suptitle(name, fontsize=12, parse_math=False)
            for axes, picture in zip(part.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
                picture.panel(axes)
        canvas.save_png(figure, path)
