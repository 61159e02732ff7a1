"""The figure of a run: 2x2 panels, 14x10 inches at 300 DPI, drawn without a display."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.core import files
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.core.wording import Words, words
from pytest_llmbench.reports.charts.benchmark_summary import summary_text
from pytest_llmbench.reports.judgement import opening
from pytest_llmbench.runs.comparison import LEADING_METRICS, average

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (14.0, 10.0)
DPI = 300
MOST_CATEGORIES = 14
_BINS = 10
_ROUNDING = 9
_LABEL_CELLS = 28
_VALUES_FIT_BARS = 30
_ROOM_FOR_NUMBERS = 0.12
_TITLE_CHARACTERS = 130
_MOST_SENTENCES = 3
_SUMMARY_FONT = 9.5  # points; smaller where there are more lines than fit
_SUMMARY_LINES = 17

# Okabe and Ito's colours, in an order whose neighbours differ in lightness too; hatches tell them apart without colour.
COLOURS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
HATCHES = ("//", "", "..", "\\\\", "xx")
_INK = "#222222"

Means = Mapping[str, Mapping[str, float | None]]
"""variant -> category -> mean."""


def draw(document: Mapping[str, Any], path: Path, language: str) -> None:
    """Write the figure as PNG, replacing `path` in one step; the same document gives the same bytes.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written.
        UsageError: the language is unknown.
    """
    say = words(language)
    with files.replacing(path) as temporary:
        render(document, temporary, say)


def render(document: Mapping[str, Any], path: Path, say: Words) -> None:
    """Draw straight into `path`. Matplotlib's settings are its own defaults meanwhile, whatever the user's style is."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams["hatch.linewidth"] = 0.6
        # A script that the built-in font lacks shows as boxes here; the text report has it.
        warnings.filterwarnings("ignore", message="Glyph ")
        figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
        FigureCanvasAgg(figure)
        figure.suptitle(_verdict(document, say), fontsize=12, fontweight="bold", parse_math=False)
        panels = (_relevance, _keywords, _distribution, _summary)
        # Subfigures, so that the long labels of one panel take no width from another.
        for panel, part in zip(panels, figure.subfigures(2, 2, squeeze=False).flat, strict=True):
            panel(part.subplots(), document, say)
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": "pytest-llmbench"})


def _verdict(document: Mapping[str, Any], say: Words) -> str:
    """The first lines of every report, above the panels."""
    lines = opening(document, say)[:_MOST_SENTENCES]
    return "\n".join(line for sentence in lines for line in textwrap.wrap(sentence, _TITLE_CHARACTERS))


def _relevance(axes: Axes, document: Mapping[str, Any], say: Words) -> None:
    metric = figure_metric(document)
    means = {
        variant: {name: average(block, metric, variant) for name, block in document["by_category"].items()}
        for variant in document["metadata"]["variants"]
    }
    _bars(axes, means, say("figure_relevance", metric=say.metric(metric)), say("figure_mean_score"), say)


def _keywords(axes: Axes, document: Mapping[str, Any], say: Words) -> None:
    means = {
        variant: {name: average(block, "keywords", variant) for name, block in document["by_category"].items()}
        for variant in document["metadata"]["variants"]
    }
    _bars(axes, means, say("figure_keywords"), say("figure_mean_score"), say)


def figure_metric(document: Mapping[str, Any]) -> str:
    """Relevance, or the next metric that anybody was scored on."""
    applied = document["statistics"]["metrics"]
    scored = (name for name in LEADING_METRICS if any(item["scored"] for item in applied.get(name, {}).values()))
    return next(scored, LEADING_METRICS[0])


def _bars(axes: Axes, means: Means, title: str, unit: str, say: Words) -> None:
    """Horizontal bars, so that long category names stay readable; one bar a variant, its value at its end."""
    everything = list(next(iter(means.values()), {}))
    shown = _most_changed(means, everything)
    if len(shown) < len(everything):
        title += say("figure_some", shown=len(shown), total=len(everything))
    _title(axes, title)
    known = [value for by_category in means.values() for value in by_category.values() if value is not None]
    if not known:
        _nothing(axes, say)
        return
    height = 0.8 / len(means)
    for place, (variant, by_category) in enumerate(means.items()):
        values = [by_category[name] for name in shown]
        positions = [row + (place + 0.5) * height - 0.4 for row in range(len(shown))]
        bars = axes.barh(
            positions,
            [value or 0.0 for value in values],
            height * 0.92,
            label=shorten_middle(variant, _LABEL_CELLS),
            **_look(place),
        )
        if len(shown) * len(means) <= _VALUES_FIT_BARS:
            axes.bar_label(bars, [say.number(value) for value in values], padding=3, fontsize=8, color=_INK)
    axes.set_yticks(range(len(shown)), [shorten_middle(name, _LABEL_CELLS) for name in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    _reach(axes, known)
    axes.xaxis.set_major_formatter(_ticks(say))
    _dress(axes, unit, "x")


def _reach(axes: Axes, known: Sequence[float]) -> None:
    """The axis ends where scores do; the numbers beside the bars stand past its last tick."""
    low, high = min([0.0, *known]), max([1.0, *known])
    axes.set_xlim(low, high + _ROOM_FOR_NUMBERS * (high - low))
    if high <= 1:
        axes.set_xticks([tick for tick in (-1.0, -0.5, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if tick >= low])
        axes.spines["bottom"].set_bounds(low, high)


def _most_changed(means: Means, names: Sequence[str]) -> list[str]:
    """All categories in their order, or those where the variants differ most when there are too many to read."""
    if len(names) <= MOST_CATEGORIES:
        return list(names)

    def spread(name: str) -> float:
        values = [by_category[name] for by_category in means.values()]
        known = [value for value in values if value is not None]
        return max(known) - min(known) if known else 0.0

    chosen = set(sorted(names, key=spread, reverse=True)[:MOST_CATEGORIES])
    return [name for name in names if name in chosen]


def _distribution(axes: Axes, document: Mapping[str, Any], say: Words) -> None:
    from matplotlib.ticker import MaxNLocator

    metric = figure_metric(document)
    _title(axes, say("figure_distribution", metric=say.metric(metric)))
    scores = {
        variant: [
            round(value, _ROUNDING)
            for row in document["results"]
            if (value := row["scores"].get(metric, {}).get(variant)) is not None
        ]
        for variant in document["metadata"]["variants"]
    }
    if not any(scores.values()):
        _nothing(axes, say)
        return
    for place, (variant, values) in enumerate(scores.items()):
        label = f"{shorten_middle(variant, _LABEL_CELLS)} (n = {len(values)})"
        look = _look(place)
        if place:  # later ones lie over the first: see-through, with a strong outline
            look |= {"facecolor": (look["facecolor"], 0.35), "edgecolor": look["facecolor"], "linewidth": 2.2}
        axes.hist(values, _edges(scores.values()), histtype="stepfilled", label=label, **look)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(say("figure_count"))
    axes.xaxis.set_major_formatter(_ticks(say))
    _dress(axes, say("figure_score"), "y")


def _edges(scores: Iterable[Sequence[float]]) -> list[float]:
    """Bin edges over 0 to 1 or wider; rounded like the scores, so that 0.3 falls on the right side of 0.3."""
    known = [value for values in scores for value in values]
    low, high = min([0.0, *known]), max([1.0, *known])
    return [round(low + (high - low) * step / _BINS, _ROUNDING) for step in range(_BINS + 1)]


def _summary(axes: Axes, document: Mapping[str, Any], say: Words) -> None:
    _title(axes, say("figure_summary"))
    axes.set_axis_off()
    text = summary_text(document, say)
    box = {"boxstyle": "round,pad=0.8", "facecolor": "#F5F5F5", "edgecolor": "#888888"}
    axes.text(
        0.03,
        0.94,
        text,
        transform=axes.transAxes,
        va="top",
        fontfamily="DejaVu Sans Mono",
        fontsize=_SUMMARY_FONT * min(1.0, _SUMMARY_LINES / (text.count("\n") + 1)),
        linespacing=1.45,
        bbox=box,
        parse_math=False,
    )


def _look(place: int) -> dict[str, Any]:
    return {
        "facecolor": COLOURS[place % len(COLOURS)],
        "hatch": HATCHES[place % len(HATCHES)],
        "edgecolor": _INK,
        "linewidth": 0.8,
    }


def _ticks(say: Words) -> Callable[[float, float], str]:
    return lambda value, _: f"{value:g}".replace(".", say("decimal_mark"))


def _title(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=12, fontweight="bold", pad=10, parse_math=False)


def _dress(axes: Axes, unit: str, grid: Literal["x", "y"]) -> None:
    axes.set_xlabel(unit)
    axes.grid(axis=grid, color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _nothing(axes: Axes, say: Words) -> None:
    """Say that a panel is empty for want of scores."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, say("figure_nothing"), transform=axes.transAxes, ha="center", va="center", fontsize=14)
