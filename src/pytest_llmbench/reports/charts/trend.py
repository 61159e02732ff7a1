"""The trend over saved runs: the mean of each metric from the oldest run to the newest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.svg import drawing
from pytest_llmbench.reports.gate_sentences import GATED
from pytest_llmbench.runs.averages import asked_alike, comparable_lines, partly_scored
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.drift_document import Monitored, NoBand
from pytest_llmbench.runs.typed import RunPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH_INCHES = 14.0
MOST_VARIANTS = 6
_PANEL_INCHES = 3.0
_FRAME_INCHES = 2.4  # title, run names, legend
_PAGE_INCHES = (4.8, 2.9)
_PAGE_LEGEND_INCHES = (4.8, 0.28)  # an entry of its own line
_LABELS_AN_INCH = 1.75
_LABEL_CELLS = 20
_NAME_CELLS = 28
_SMALL_FROM = 4.3  # runs an inch
_LINE_COLUMNS = 3  # of the legend
_PART_POINTS = -6.0  # of a count below its mark
_LEAST_SPAN = 0.1  # of the axis: a change in the third decimal is no cliff
LineStyle = Literal["-", "--", "-.", ":"]
Place = Literal["outside lower left", "outside lower right", "center"]
_LINES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")
_OUTCOMES: Mapping[str | None, tuple[str, float]] = {
    "pass": ("o", 1.0),
    "inconclusive": ("D", 1.0),
    "fail": ("X", 2.2),
    None: (".", 1.6),
}
"""Marker and relative size; None is a run without a gate. Failures are dark on every line."""


def save_trend(
    history: Sequence[RunPoint], path: Path, say: Words, monitored: Monitored | NoBand | None = None
) -> None:
    """Draw into `path` as PNG, 300 DPI: a panel a leading metric, a line a variant, a marker shape an outcome.

    `history` is oldest first. Of more than six variants the six of the latest runs are drawn. Runs that asked other
    cases than the last one are drawn hollow, and a mean of a part of the answers has its count. `monitored` adds, round
    the baseline's mean, the bounds of the drift, or why there are none.
    """
    variants = _variants(history)
    shown = variants[:MOST_VARIANTS]
    metrics = [name for name in LEADING_METRICS if any(_series(history, variant, name) for variant in shown)]
    height = _FRAME_INCHES + _PANEL_INCHES * max(len(metrics), 1)
    with canvas.figure_of(WIDTH_INCHES, height) as figure:
        heading = say("Trend over the saved runs ({count})", count=len(history))
        if len(shown) < len(variants):
            heading += ", " + say("{shown} of {total} variants, the latest", shown=len(shown), total=len(variants))
        figure.suptitle(heading, fontsize=14, fontweight="bold")
        panels = figure.subplots(max(len(metrics), 1), 1, sharex=True, squeeze=False)[:, 0]
        if not metrics:
            canvas.nothing(panels[0], say("Nothing scored"))
        for axes, metric in zip(panels, metrics, strict=False):
            _panel(axes, history, _looks(shown), metric, say)
            _drifts(axes, history, _looks(shown), metric, monitored)
        if metrics:
            _name_runs(panels[-1], history, say)
            left, right = _entries(history, _looks(shown), metrics, say, monitored)
            _legend(figure, left, "outside lower left", _LINE_COLUMNS)
            _legend(figure, right, "outside lower right", len(_OUTCOMES))
        canvas.save_png(figure, path)


def trend_in_page(history: Sequence[RunPoint], looks: Mapping[str, int], metric: str, name: str, say: Words) -> str:
    """One metric's panel as SVG, `name` being unique in its page and `looks` the number of each variant's colour."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _panel(axes, history, looks, metric, say)
        _name_runs(axes, history, say)

    told = say("Trend over the saved runs ({count})", count=len(history))
    return drawing(name, f"{told}: {say.metric(metric)}", _PAGE_INCHES, draw)


def legend_in_page(history: Sequence[RunPoint], looks: Mapping[str, int], say: Words) -> str:
    """What lines and marks mean, once for all panels of a page."""
    metrics = {metric for saved in history for means in saved.variants.values() for metric in means}
    lines, marks = _entries(history, looks, metrics, say, None)
    rows = math.ceil((len(lines) + len(marks)) / 2)
    label = ", ".join(str(one.get_label()) for one in [*lines, *marks])
    size = (_PAGE_LEGEND_INCHES[0], _PAGE_LEGEND_INCHES[1] * (rows + 1))
    return drawing("trend-legend", label, size, lambda figure: _legend(figure, [*lines, *marks], "center", 2))


def _variants(history: Sequence[RunPoint]) -> list[str]:
    """Every variant once, those of the latest run first."""
    return list(dict.fromkeys(name for saved in reversed(history) for name in saved.variants))


def _series(history: Sequence[RunPoint], variant: str, metric: str) -> list[float]:
    """The means with NaN, which matplotlib draws as a gap, where a run has none; empty where no run has one."""
    found = [saved.variants.get(variant, {}).get(metric) for saved in history]
    if all(value is None for value in found):
        return []
    return [math.nan if value is None else value for value in found]


def _looks(variants: Sequence[str]) -> dict[str, int]:
    """The base has its own colour everywhere; the others follow as they come."""
    others = [name for name in variants if name != BASE]
    return {name: 0 if name == BASE else 1 + others.index(name) for name in variants}


def _panel(axes: Axes, history: Sequence[RunPoint], looks: Mapping[str, int], metric: str, say: Words) -> None:
    canvas.title(axes, say.metric(metric))
    size = 16 if len(history) >= _SMALL_FROM * canvas.width_inches(axes) else 55
    for variant, place in looks.items():
        values = _series(history, variant, metric)
        if not values:
            continue
        colour, line = _look(place)
        for runs in (line for line in comparable_lines(history) if len(line) > 1):
            axes.plot(runs, [values[run] for run in runs], color=colour, linestyle=line, linewidth=1.4, zorder=2)
        _mark(axes, history, variant, values, colour, size, say)
    for part in partly_scored(history, metric):
        mean = history[part.place].variants.get(part.variant, {}).get(metric)
        if part.variant in looks and mean is not None:
            axes.annotate(
                f"{part.scored}/{part.expected}",
                (part.place, mean),
                xytext=(0, _PART_POINTS),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7,
            )
    _set_span(axes)
    axes.yaxis.set_major_formatter(canvas.ticks(say))
    axes.set_ylabel(say("Mean"), fontsize=9)
    canvas.dress(axes)


def _mark(
    axes: Axes,
    history: Sequence[RunPoint],
    variant: str,
    values: Sequence[float],
    colour: str,
    size: float,
    say: Words,
) -> None:
    """A shape an outcome; hollow where other cases were asked than in the last run."""
    known = [run for run, value in enumerate(values) if not math.isnan(value)]
    for outcome, (marker, scale) in _OUTCOMES.items():
        filled = canvas.INK if outcome == "fail" else colour
        for alike in (True, False):
            own = [
                run
                for run in known
                if history[run].outcome == outcome and asked_alike(history[run], history[-1]) is alike
            ]
            if not own:
                continue
            marks = axes.scatter(
                own,
                [values[run] for run in own],
                s=size * scale,
                marker=marker if alike or outcome else "o",  # a hollow point would be none
                facecolor=filled if alike else canvas.PAPER,
                edgecolor=canvas.PAPER if alike else filled,
                linewidth=0.5 if alike else 1.2,
                zorder=3 + scale,
            )
            told = _outcome(outcome, say)
            canvas.titled(marks, [f"{history[run].name}, {variant}: {say.number(values[run])}, {told}" for run in own])


def _drifts(
    axes: Axes,
    history: Sequence[RunPoint],
    looks: Mapping[str, int],
    metric: str,
    monitored: Monitored | NoBand | None,
) -> None:
    """The baseline's mean as a line, and where the mean of all runs since lies: a band that holds at every look."""
    places = {saved.name: place for place, saved in enumerate(history)}
    for series in monitored.series if isinstance(monitored, Monitored) else ():
        if series.metric != metric or series.variant not in looks:
            continue
        colour, _ = _look(looks[series.variant])
        points = [point for point in series.points if point.run in places]
        at = [places[point.run] for point in points]
        low = [max(0.0, series.before + point.low) for point in points]
        high = [min(1.0, series.before + point.high) for point in points]
        axes.axhline(series.before, color=colour, linewidth=0.8, linestyle=":", zorder=1)
        axes.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0, zorder=0.5)


def _look(place: int) -> tuple[str, LineStyle]:
    return canvas.VARIANTS[place % len(canvas.VARIANTS)], _LINES[(place - 1) % len(_LINES)]


def _set_span(axes: Axes) -> None:
    low, high = axes.get_ylim()
    missing = max(0.0, _LEAST_SPAN - (high - low)) / 2
    axes.set_ylim(low - missing, high + missing)


def _name_runs(axes: Axes, history: Sequence[RunPoint], say: Words) -> None:
    """The newest run is always named; of many, evenly spaced ones are."""
    step = max(1, math.ceil(len(history) / (_LABELS_AN_INCH * canvas.width_inches(axes))))
    named = sorted(range(len(history) - 1, -1, -step))
    labels = [shorten_middle(history[run].name, _LABEL_CELLS) for run in named]
    axes.set_xticks(named, labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=8, parse_math=False)
    axes.set_xlim(-0.6, len(history) - 0.4)
    axes.set_xlabel(say("Run, oldest first"), fontsize=9)


def _entries(
    history: Sequence[RunPoint],
    looks: Mapping[str, int],
    metrics: Iterable[str],
    say: Words,
    monitored: Monitored | NoBand | None,
) -> tuple[list[Line2D], list[Line2D]]:
    """The legend's lines, and its markers."""
    from matplotlib.lines import Line2D

    found = [(*_look(place), canvas.entry(shorten_middle(variant, _NAME_CELLS))) for variant, place in looks.items()]
    lines = [Line2D([], [], color=colour, linestyle=line, linewidth=2, label=name) for colour, line, name in found]
    happened = {saved.outcome for saved in history}
    marks = [
        Line2D([], [], color=canvas.INK, linestyle="", marker=marker, markersize=7, label=_outcome(outcome, say))
        for outcome, (marker, _) in _OUTCOMES.items()
        if outcome in happened
    ]
    if not all(asked_alike(saved, history[-1]) for saved in history):
        ink, label = canvas.INK, say("other cases: not comparable")
        marks.append(
            Line2D([], [], color=ink, linestyle="", marker="o", markerfacecolor=canvas.PAPER, markersize=7, label=label)
        )
    if any([*partly_scored(history, metric)] for metric in metrics):
        marks.append(Line2D([], [], linestyle="", label=say("n/m: only n of m answers are scored")))
    if monitored:
        baseline = shorten_middle(monitored.baseline, _NAME_CELLS)
        if isinstance(monitored, NoBand):
            lines.append(Line2D([], [], linestyle="", label=_without_band(monitored.count, baseline, say)))
        elif any(series.metric in LEADING_METRICS for series in monitored.series):  # others have no panel
            label = say("since {baseline}, at every look", baseline=baseline)
            lines.append(Line2D([], [], color=canvas.INK, linewidth=6, alpha=0.15, label=label))
    return lines, marks


def _without_band(count: int | None, baseline: str, say: Words) -> str:
    if count is None:
        return say("no band since {baseline}: llmbench monitor says why", baseline=baseline)
    return say("no band: {count} runs since {baseline} (llmbench monitor)", count=count, baseline=baseline)


def _legend(figure: Figure, entries: Sequence[Line2D], place: Place, columns: int) -> None:
    legend = figure.legend(handles=list(entries), loc=place, ncols=columns, frameon=False)
    canvas.as_written(legend)
    for text in legend.get_texts():
        text.set_fontsize(9)


def _outcome(outcome: str | None, say: Words) -> str:
    return (say(GATED[outcome]) if outcome else say("no gate")).lower()
