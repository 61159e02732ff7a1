"""What all charts share: colours by role, a canvas without a display, titles, legends and numbers."""

from __future__ import annotations

import contextlib
import json
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.text_cells import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

DPI = 300
_QUICK = 2  # of Pillow's compression: half the time of its 6, a third more bytes

# Okabe and Ito's colours. Every role has a hexadecimal of its own, one step beside another's where both look alike: a
# page replaces it by its variable (`VARIABLES`), which differs between light and dark.
INK, PAPER, GRID, LEADER = "#222222", "#ffffff", "#dddddd", "#999999"
VARIANTS = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""The base, then adapters in turn; neighbours differ in lightness too."""
BETTER, SAME, WORSE = "#0072b3", "#666666", "#d55e01"
HELD, UNDECIDED, BROKEN, FAILED = "#0072b2", "#8a8a8a", "#d55e00", "#7b1fa2"
LIMIT, LIMIT_BAND, CUT_OFF = "#8a6d00", "#f0e442", "#aa4488"
PERCENTILES = ("#56b4e8", "#0072b4", "#222222", "#d55e00")
VARIABLES = {
    "#000000": "--ink",
    INK: "--ink",
    PAPER: "--card",
    GRID: "--grid",
    LEADER: "--zero",
    **{colour: f"--v{place}" for place, colour in enumerate(VARIANTS)},
    BETTER: "--good",
    SAME: "--muted",
    WORSE: "--bad",
    UNDECIDED: "--muted",
    FAILED: "--v3",
    LIMIT: "--unsure",
    LIMIT_BAND: "--unsure",
    CUT_OFF: "--v3",
    PERCENTILES[0]: "--v1",
    PERCENTILES[1]: "--v2",
}
"""The variable of the page's style for each colour of a chart that stands in a page."""

_ENTRY = "\N{WORD JOINER}"
_LINE_CHARACTERS = 60
_LEGEND_FONT, _LEGEND_BELOW = 9.0, 34.0  # points
_CHARACTER, _HANDLE = 0.55, 5.0  # widths of a legend's character, and of its mark and gaps, in font sizes


@contextlib.contextmanager
def figure_of(width: float, height: float, pads: tuple[float, float] = (0.12, 0.08)) -> Iterator[Figure]:
    """An empty figure of this size in inches. Inside, Matplotlib has its default settings, not the user's."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update({"hatch.linewidth": 0.6, "svg.fonttype": "none", "svg.hashsalt": "pytest-llmbench"})
        # A script that the built-in font lacks shows as boxes here; the text report has it.
        warnings.filterwarnings("ignore", message="Glyph ")
        figure = Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=pads[0], h_pad=pads[1]))
        FigureCanvasAgg(figure)
        yield figure


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure at 300 DPI; the same figure gives the same bytes."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image, PngImagePlugin

    laid_out(figure)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    opaque = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # Matplotlib writes what shines through
    made_by = PngImagePlugin.PngInfo()
    made_by.add_text("Software", "pytest-llmbench")
    opaque.save(path, "png", dpi=(DPI, DPI), pnginfo=made_by, compress_level=_QUICK)


def laid_out(figure: Figure) -> None:
    """Let the panels take their places now: saving would draw the whole figure once more for that."""
    engine = figure.get_layout_engine()
    if engine is not None and figure.axes:
        engine.execute(figure)
        figure.set_layout_engine(None)  # "none" would leave one that saving draws the figure for


def titled(artist: Artist, titles: Iterable[str]) -> None:
    """Give each mark of an artist, in its order, a title that a page shows under the pointer; a PNG has none."""
    artist.set_gid(json.dumps(list(titles)))


def ticks(say: Words) -> Callable[[float, float], str]:
    """A formatter of axis numbers with the language's decimal mark."""
    return lambda value, _: say.tick(value)


def log_ticks(axis: Axis, say: Words) -> None:
    """Numbers of one form on a logarithmic axis, at 1, 2 and 5 of each decade; the axis' own are powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticks(say))
    axis.set_minor_formatter(NullFormatter())


def title(axes: Axes, text: str, pad: float = 10) -> None:
    """A panel's title, of one line or more; names in it are no formulas."""
    axes.set_title(
        "\n".join(map(one_line, text.splitlines())), fontsize=12, fontweight="bold", pad=pad, parse_math=False
    )


def dress(axes: Axes, grid: Any = "both", *, hidden: Sequence[str] = ("top", "right")) -> None:
    """A thin grid beneath the data, and no frame around it."""
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[list(hidden)].set_visible(False)


def legend(axes: Axes, *, columns: int, **entries: Any) -> Legend:
    """The legend under the axis' label, in at most so many columns, fewer where the panel is too narrow."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.figure
    labels = entries.get("labels") or axes.get_legend_handles_labels()[1]
    found = axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=axes.transAxes + ScaledTranslation(0, -_LEGEND_BELOW / 72, figure.dpi_scale_trans),
        ncols=next((most for most in range(columns, 1, -1) if _width(labels, most) <= _room(axes)), 1),
        frameon=False,
        fontsize=_LEGEND_FONT,
        **entries,
    )
    as_written(found)
    return found


def entry(name: str) -> str:
    """A user's name as the label of a legend's entry: Matplotlib leaves out those that begin with an underscore."""
    return _ENTRY + name if name.startswith("_") else name


def as_written(legend: Legend) -> None:
    """Names in a legend are no formulas, and look as they were given to `entry`."""
    for text in legend.get_texts():
        text.set(text=text.get_text().removeprefix(_ENTRY), parse_math=False)


def _room(axes: Axes) -> float:
    """The width of the panel with its labels, in points."""
    place = axes.get_subplotspec()
    return width_inches(axes) * 72 / (place.get_gridspec().ncols if place else 1)


def width_inches(axes: Axes) -> float:
    """The width of the figure, or of the part of one, that the axes are in."""
    figure = axes.figure
    return float(figure.bbox.width / figure.dpi)


def _width(labels: Sequence[str], columns: int) -> float:
    """How wide a legend of so many columns is, in points: it is filled column by column."""
    rows = math.ceil(len(labels) / columns)
    longest = [max(map(len, labels[start : start + rows])) for start in range(0, len(labels), rows)]
    return _LEGEND_FONT * sum(_CHARACTER * characters + _HANDLE for characters in longest)


def nothing(axes: Axes, text: str) -> None:
    """Say that a panel is empty, and why."""
    axes.set_axis_off()
    lines = textwrap.fill(text, _LINE_CHARACTERS)
    axes.text(0.5, 0.5, lines, transform=axes.transAxes, ha="center", va="center", fontsize=14, parse_math=False)
