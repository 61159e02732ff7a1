"""The look that all figures share: one canvas without a display, titles, numbers in the reader's language."""

from __future__ import annotations

import contextlib
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pytest_llmbench.core.wording import Words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 300
INK = "#222222"
GRID = "#DDDDDD"
PNG_METADATA = {"Software": "pytest-llmbench"}

_LINE_CHARACTERS = 60


@contextlib.contextmanager
def figure_of(width: float, height: float) -> Iterator[Figure]:
    """An empty figure of this size in inches. Inside, Matplotlib has its default settings, not the user's."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        # A script that the built-in font lacks shows as boxes here; the text report has it.
        warnings.filterwarnings("ignore", message="Glyph ")
        figure = Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
        FigureCanvasAgg(figure)
        yield figure


def ticks(say: Words) -> Callable[[float, float], str]:
    """A formatter of axis numbers with the language's decimal mark."""
    return lambda value, _: f"{value:g}".replace(".", say("decimal_mark"))


def title(axes: Axes, text: str) -> None:
    """A panel's title; names in it are no formulas."""
    axes.set_title(text, fontsize=12, fontweight="bold", pad=10, parse_math=False)


def nothing(axes: Axes, text: str) -> None:
    """Say that a panel is empty, and why."""
    axes.set_axis_off()
    lines = textwrap.fill(text, _LINE_CHARACTERS)
    axes.text(0.5, 0.5, lines, transform=axes.transAxes, ha="center", va="center", fontsize=14, parse_math=False)
