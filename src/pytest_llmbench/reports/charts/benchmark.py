"""The figure of a run: 2x2 panels, 14x10 inches at 300 DPI, drawn without a display."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.benchmark_summary import summary_text
from pytest_llmbench.reports.judgement import opening
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.typed import RunDocument

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (14.0, 10.0)
_PADS_INCHES = (0.15, 0.12)
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

_HATCHES = ("//", "", "..", "\\\\", "xx")  # tell the variants apart without colour

Means = Mapping[str, Mapping[str, float | None]]
"""variant -> category -> mean."""


def save_benchmark(document: RunDocument, path: Path, say: Words) -> None:
    """Draw into `path` as PNG; the same document gives the same bytes."""
    with canvas.figure_of(*SIZE_INCHES, pads=_PADS_INCHES) as figure:
        figure.suptitle(_verdict(document, say), fontsize=12, fontweight="bold", parse_math=False)
        panels = (_relevance, _keywords, _distribution, _summary)
        # Subfigures, so that the long labels of one panel take no width from another.
        for panel, part in zip(panels, figure.subfigures(2, 2, squeeze=False).flat, strict=True):
            panel(part.subplots(), document, say)
        canvas.save_png(figure, path)


def _verdict(document: RunDocument, say: Words) -> str:
    """The first lines of every report, above the panels."""
    lines = opening(document, say)[:_MOST_SENTENCES]
    return "\n".join(line for sentence in lines for line in textwrap.wrap(sentence, _TITLE_CHARACTERS))


def _relevance(axes: Axes, document: RunDocument, say: Words) -> None:
    metric = figure_metric(document)
    means = {
        variant: {name: block.mean(metric, variant) for name, block in document.by_category.items()}
        for variant in document.variants
    }
    _bars(axes, means, say("{metric} by category", metric=say.metric(metric)), say("Mean score"), say)


def _keywords(axes: Axes, document: RunDocument, say: Words) -> None:
    means = {
        variant: {name: block.mean("keywords", variant) for name, block in document.by_category.items()}
        for variant in document.variants
    }
    _bars(axes, means, say("Keywords found by category"), say("Mean score"), say)


def figure_metric(document: RunDocument) -> str:
    """Relevance, or the next metric that anybody was scored on."""
    applied = document.statistics.metrics
    scored = (name for name in LEADING_METRICS if any(item.scored for item in applied.get(name, {}).values()))
    return next(scored, LEADING_METRICS[0])


def _bars(axes: Axes, means: Means, title: str, unit: str, say: Words) -> None:
    """Horizontal bars, so that long category names stay readable; one bar a variant, its value at its end."""
    everything = list(next(iter(means.values()), {}))
    shown = _most_changed(means, everything)
    if len(shown) < len(everything):
        title += say(" ({shown} of {total}, greatest change)", shown=len(shown), total=len(everything))
    canvas.title(axes, title)
    known = [value for by_category in means.values() for value in by_category.values() if value is not None]
    if not known:
        canvas.nothing(axes, say("Nothing scored"))
        return
    height = 0.8 / len(means)
    for place, (variant, by_category) in enumerate(means.items()):
        values = [by_category[name] for name in shown]
        positions = [row + (place + 0.5) * height - 0.4 for row in range(len(shown))]
        bars = axes.barh(
            positions,
            [value or 0.0 for value in values],
            height * 0.92,
            label=canvas.entry(shorten_middle(variant, _LABEL_CELLS)),
            **_look(place),
        )
        if len(shown) * len(means) <= _VALUES_FIT_BARS:
            axes.bar_label(bars, [say.number(value) for value in values], padding=3, fontsize=8, color=canvas.INK)
    axes.set_yticks(range(len(shown)), [shorten_middle(name, _LABEL_CELLS) for name in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    _reach(axes, known)
    axes.xaxis.set_major_formatter(canvas.ticks(say))
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


def _distribution(axes: Axes, document: RunDocument, say: Words) -> None:
    from matplotlib.ticker import MaxNLocator

    metric = figure_metric(document)
    canvas.title(axes, say("Distribution of scores: {metric}", metric=say.metric(metric)))
    scores = {
        variant: [
            round(value, _ROUNDING) for value in document.score_columns.of(metric, variant) if not math.isnan(value)
        ]
        for variant in document.variants
    }
    if not any(scores.values()):
        canvas.nothing(axes, say("Nothing scored"))
        return
    for place, (variant, values) in enumerate(scores.items()):
        label = canvas.entry(f"{shorten_middle(variant, _LABEL_CELLS)} (n = {len(values)})")
        look = _look(place)
        if place:  # later ones lie over the first: see-through, with a strong outline
            look |= {"facecolor": (look["facecolor"], 0.35), "edgecolor": look["facecolor"], "linewidth": 2.2}
        axes.hist(values, _edges(scores.values()), histtype="stepfilled", label=label, **look)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(say("Number of results"))
    axes.xaxis.set_major_formatter(canvas.ticks(say))
    _dress(axes, say("Score"), "y")


def _edges(scores: Iterable[Sequence[float]]) -> list[float]:
    """Bin edges over 0 to 1 or wider; rounded like the scores, so that 0.3 falls on the right side of 0.3."""
    known = [value for values in scores for value in values]
    low, high = min([0.0, *known]), max([1.0, *known])
    return [round(low + (high - low) * step / _BINS, _ROUNDING) for step in range(_BINS + 1)]


def _summary(axes: Axes, document: RunDocument, say: Words) -> None:
    canvas.title(axes, say("Summary"))
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
        "facecolor": canvas.VARIANTS[place % len(canvas.VARIANTS)],
        "hatch": _HATCHES[place % len(_HATCHES)],
        "edgecolor": canvas.INK,
        "linewidth": 0.8,
    }


def _dress(axes: Axes, unit: str, grid: Literal["x", "y"]) -> None:
    axes.set_xlabel(unit)
    canvas.dress(axes, grid)
    canvas.legend(axes, columns=3)
