"""The figure of routing: a confusion matrix a variant, base beside fine-tunes, each row with the tool's F1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.routing import routings
from pytest_llmbench.reports.routing_matrix import Cell, Matrices, Matrix, matrices
from pytest_llmbench.runs.typed import RunDocument

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RIGHT, _WRONG = canvas.BETTER, canvas.WORSE
_CELL_INCHES = 0.42
_MARGIN_INCHES = (3.0, 2.6)
_LEAST_INCHES = (6.0, 4.5)
_MOST_VARIANTS = 3
_LABEL_CELLS = 22
_DARK_FROM = 0.55
_LEAST_SHADE, _MOST_SHADE = 0.12, 0.88


def save_routing(document: RunDocument, path: Path, say: Words) -> None:
    """Draw into `path` as PNG, 300 DPI, the base and the first adapters side by side."""
    found = matrices(routings(document)[:_MOST_VARIANTS])
    rows, columns = (max(len(side) for side in sides) for sides in _sides(found))
    width = max(_LEAST_INCHES[0], columns * _CELL_INCHES + _MARGIN_INCHES[0]) * len(found.shown)
    height = max(_LEAST_INCHES[1], rows * _CELL_INCHES + _MARGIN_INCHES[1])
    with canvas.figure_of(width, height) as figure:
        parts = figure.subfigures(1, len(found.shown), squeeze=False).flat
        for part, matrix in zip(parts, found.shown, strict=True):
            _panel(part.subplots(), matrix, found, say)
        if found.left_out:
            text = say(
                "Shown are the {shown} tools that are confused most; the other {left_out} are one row and one "
                "column. A number with ✗ in their common cell counts those of them that were taken for one "
                "another.",
                shown=found.tools,
                left_out=found.left_out,
            )
            figure.supxlabel(text, fontsize=8, parse_math=False)
        canvas.save_png(figure, path)


def _sides(found: Matrices) -> tuple[list[Any], list[Any]]:
    return [one.rows for one in found.shown], [one.columns for one in found.shown]


def _panel(axes: Axes, matrix: Matrix, found: Matrices, say: Words) -> None:
    from matplotlib.colors import to_rgba

    paper = to_rgba("white")
    image = [[_shade(cell) or paper for cell in row] for row in matrix.cells]
    axes.imshow(image, aspect="equal")
    for down, row in enumerate(matrix.cells):
        for across, cell in enumerate(row):
            ink = "white" if cell.share >= _DARK_FROM else canvas.INK
            axes.text(across, down, cell.text.replace(" + ", "\n+"), ha="center", va="center", fontsize=8, color=ink)
    _label(axes, matrix, found, say)
    routing, name = matrix.routing, shorten_middle(matrix.routing.variant, _LABEL_CELLS)
    numbers = {"right": routing.right, "total": routing.total, "f1": say.number(routing.macro_f1)}
    canvas.title(axes, say("{variant}: {right} of {total} right, mean F1 {f1}", variant=name, **numbers))


def _shade(cell: Cell) -> tuple[float, float, float, float] | None:
    """Deeper with the share of the row: right ones in blue, wrong ones in orange; None for an empty cell."""
    from matplotlib.colors import to_rgb

    if not cell.count:
        return None
    depth = _LEAST_SHADE + (_MOST_SHADE - _LEAST_SHADE) * cell.share
    red, green, blue = (1 - depth * (1 - part) for part in to_rgb(_RIGHT if cell.right else _WRONG))
    return red, green, blue, 1.0


def _label(axes: Axes, matrix: Matrix, found: Matrices, say: Words) -> None:
    """Names at both sides, thin lines between the cells, and each row's F1 on the right."""
    names = {tool: shorten_middle(found.label(tool, say), _LABEL_CELLS) for tool in [*matrix.columns, *matrix.rows]}
    f1 = {rate.tool: say.number(rate.f1) for rate in matrix.routing.rates}
    columns, rows = range(len(matrix.columns)), range(len(matrix.rows))
    axes.set_xticks(columns, [names[tool] for tool in matrix.columns], rotation=50, ha="right", parse_math=False)
    axes.set_yticks(rows, [names[tool] for tool in matrix.rows], parse_math=False)
    axes.tick_params(labelsize=8, length=0)
    axes.set_xlabel(say("named in the answer"), fontsize=9)
    axes.set_ylabel(say("expected"), fontsize=9)
    axes.set_xticks([place - 0.5 for place in columns], minor=True)
    axes.set_yticks([place - 0.5 for place in rows], minor=True)
    axes.grid(which="minor", color=canvas.GRID, linewidth=0.8)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_color(canvas.GRID)
    axes.text(len(matrix.columns) - 0.2, -0.8, say("F1"), fontsize=8, va="center", fontweight="bold")
    for down, tool in enumerate(matrix.rows):
        axes.text(len(matrix.columns) - 0.2, down, f1.get(tool, ""), fontsize=8, va="center")
