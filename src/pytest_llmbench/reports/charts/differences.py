"""The figure of paired differences: each case's change from the base to an adapter, and the mean with its interval."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.gate_sentences import Gate
from pytest_llmbench.reports.judgement import paired_with_base
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.case_counts import count
from pytest_llmbench.runs.comparison import LEADING_METRICS, adapters, higher_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

BETTER, SAME, WORSE = "#0072B2", "#666666", "#D55E00"
HEIGHT_INCHES = 8.0
_PANEL_INCHES = 5.4
_LEAST_WIDTH = 8.0
_EMPTY_INCHES = (8.0, 3.0)
_MOST_PANELS = 4
_NAMED_CASES = 5  # at each end
_LABEL_CELLS = 28
_LABEL_GAP = 0.032  # of the axis, so that labels of neighbours stay apart
_STEMS_UP_TO = 80
_SMALL_FROM = 1000
_LEAST_FOR_INTERVAL = 2
_CONFIDENCE = 0.95
_ROUNDING = 9


@dataclasses.dataclass(frozen=True, slots=True)
class Differences:
    """The changes of one metric, lowest first, one a case: the mean over its epochs that both variants scored."""

    metric: str
    changes: tuple[tuple[float, str], ...]
    unscored: int
    higher_is_better: bool

    @property
    def values(self) -> list[float]:
        """The changes alone."""
        return [value for value, _ in self.changes]

    def colour(self, value: float) -> str:
        """By what the change means, not by its sign: a lower latency is better."""
        if value == 0:
            return SAME
        return BETTER if (value > 0) == self.higher_is_better else WORSE

    def tally(self) -> dict[str, int]:
        """How many cases got better, stayed and got worse."""
        colours = [self.colour(value) for value in self.values]
        return {name: colours.count(of) for name, of in (("better", BETTER), ("same", SAME), ("worse", WORSE))}


def render(document: Mapping[str, Any], path: Path, say: Words, variant: str | None = None) -> None:
    """Draw into `path` as PNG, 300 DPI: a panel for each metric that is gated on, or leads, and has pairs.

    `variant` is the first adapter when None. Always adapter minus base within this run, whatever its gate compares.
    """
    variant = variant or next(iter(adapters(document)), None)
    panels = _panels(document, variant) if variant is not None else []
    size = (max(_LEAST_WIDTH, _PANEL_INCHES * len(panels)), HEIGHT_INCHES) if panels else _EMPTY_INCHES
    with canvas.figure_of(*size) as figure:
        if variant is None or not panels:
            canvas.nothing(figure.subplots(), _why_empty(document, say))
        else:
            heading = say("difference_title", base=BASE, variant=shorten_middle(variant, _LABEL_CELLS * 2))
            figure.suptitle(heading, fontsize=14, fontweight="bold", parse_math=False)
            parts = figure.subfigures(1, len(panels), squeeze=False).flat
            for part, found in zip(parts, panels, strict=True):
                counted = _counted(document, variant, found, say)
                _panel(part, found, _interval(document, variant, found), counted, say)
        figure.savefig(path, format="png", dpi=canvas.DPI, metadata=canvas.PNG_METADATA)


def _why_empty(document: Mapping[str, Any], say: Words) -> str:
    if adapters(document):
        return say("figure_nothing")
    return say("one_variant", variant=", ".join(document["metadata"]["variants"]))


def _panels(document: Mapping[str, Any], variant: str) -> list[Differences]:
    named = list(_verdicts(document["gate"] or paired_with_base(document), variant)) or list(LEADING_METRICS)
    found = [
        differences(document, variant, metric, higher_is_better=higher_is_better(document, metric)) for metric in named
    ]
    return [one for one in found if one.changes][:_MOST_PANELS]


def _verdicts(gate: Gate | None, variant: str) -> dict[str, Mapping[str, Any]]:
    """The overall verdicts on this adapter by metric, whatever they are against."""
    return {
        verdict["metric"]: verdict
        for verdict in (gate["verdicts"] if gate else ())
        if verdict["variant"] == variant and verdict["category"] is None
    }


def differences(document: Mapping[str, Any], variant: str, metric: str, *, higher_is_better: bool) -> Differences:
    """Every case's change of `metric` from the base to `variant`."""
    by_case: dict[str, list[float | None]] = {}
    for row in document["results"]:
        scores = row["scores"].get(metric, {})
        base, tuned = scores.get(BASE), scores.get(variant)
        change = None if base is None or tuned is None else tuned - base
        by_case.setdefault(row["case"], []).append(change)
    means = [(mean(changes), case) for case, changes in by_case.items()]
    known = [(round(value, _ROUNDING), case) for value, case in means if value is not None]
    return Differences(metric, tuple(sorted(known)), len(means) - len(known), higher_is_better)


def _interval(document: Mapping[str, Any], variant: str, found: Differences) -> tuple[float, float] | None:
    """The interval of the verdict on these pairs, else one computed over the cases."""
    import numpy as np

    from pytest_llmbench.stats import change_interval

    verdict = _verdicts(paired_with_base(document), variant).get(found.metric)
    if verdict is not None and verdict["low"] is not None:
        return verdict["low"], verdict["high"]
    return change_interval(np.asarray(found.values)) if len(found.values) >= _LEAST_FOR_INTERVAL else None


def _panel(part: SubFigure, found: Differences, interval: tuple[float, float] | None, counted: str, say: Words) -> None:
    """Cases above, and below them on the same axis the mean: it lies over no case whatever their number."""
    cases, below = part.subplots(2, 1, sharex=True, height_ratios=(8, 1))
    tally, unscored = say("difference_tally", **found.tally()), say("difference_unscored", count=found.unscored)
    cases.set_title(say.metric(found.metric), fontsize=12, fontweight="bold", pad=32, parse_math=False)
    cases.annotate(
        f"{tally}\n{unscored if found.unscored else ''}",
        xy=(0.5, 1),
        xytext=(0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        fontsize=9,
    )
    _draw_cases(cases, found, say)
    _draw_mean(below, found, interval, say)
    part.supxlabel(_mean_text(found, interval, counted, say), fontsize=9)
    for axes in (cases, below):
        axes.axvline(0, color=canvas.INK, linewidth=1.0, zorder=1)
        axes.grid(axis="x", color=canvas.GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    below.set_xlim(*_reach(found.values, interval))
    below.xaxis.set_major_formatter(canvas.ticks(say))


def _reach(values: Sequence[float], interval: tuple[float, float] | None) -> tuple[float, float]:
    """The axis: as far as differences of shares can reach, on each side that has any; else as far as the data."""
    low, high = min([*values, *(interval or ()), 0.0]), max([*values, *(interval or ()), 0.0])
    if max(map(abs, values), default=0.0) <= 1:
        low, high = (-1.0 if low < 0 else 0.0), (1.0 if high > 0 else 0.0)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_cases(axes: Axes, found: Differences, say: Words) -> None:
    """A dot a case, with a stem where there is room; the marker tells better from worse without colour."""
    changes = found.values
    places = range(len(changes))
    size = 5.5 if len(places) <= _STEMS_UP_TO else 3.0 if len(places) < _SMALL_FROM else 1.7
    for colour, marker in ((BETTER, "o"), (SAME, "s"), (WORSE, "v")):
        own = [place for place in places if found.colour(changes[place]) == colour]
        values = [changes[place] for place in own]
        if len(places) <= _STEMS_UP_TO:
            axes.hlines(own, 0, values, color=colour, linewidth=1.6)
        face = "white" if colour == SAME else colour
        axes.plot(values, own, marker, markersize=size, color=colour, markerfacecolor=face, markeredgewidth=0.8)
    axes.set_ylim(-0.6, len(places) - 0.4)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.yaxis.set_label_position("right")  # the names are on the left
    axes.set_ylabel(say("difference_cases"), fontsize=9)
    _name_cases(axes, found)


def _name_cases(axes: Axes, found: Differences) -> None:
    """Name the most moved cases beside the axis, pushed apart where they lie close, with a line to their place."""
    places = range(len(found.changes))
    lowest = [place for place in places[:_NAMED_CASES] if found.changes[place][0] < 0]
    highest = [place for place in reversed(places[-_NAMED_CASES:]) if found.changes[place][0] > 0]
    for place, height in [*_spread(lowest, len(places), 1), *_spread(highest, len(places), -1)]:
        axes.annotate(
            shorten_middle(found.changes[place][1], _LABEL_CELLS),
            xy=(0, _height(place, len(places))),
            xytext=(-0.07, height),
            xycoords="axes fraction",
            ha="right",
            va="center",
            fontsize=8,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": "#999999",
                "linewidth": 0.6,
                "relpos": (1, 0.5),
                "shrinkA": 2,
                "shrinkB": 0,
            },
        )


def _spread(places: Sequence[int], total: int, direction: int) -> Iterator[tuple[int, float]]:
    """Heights as fractions of the axis, from one end inwards (`direction` 1 is upwards), a label's height apart."""
    before: float | None = None
    for place in places:
        height = _height(place, total)
        if before is not None and (height - before) * direction < _LABEL_GAP:
            height = before + _LABEL_GAP * direction
        before = height
        yield place, height


def _height(place: int, total: int) -> float:
    return (place + 0.6) / (total + 0.2)


def _draw_mean(axes: Axes, found: Differences, interval: tuple[float, float] | None, say: Words) -> None:
    middle = mean(found.values) or 0.0
    if interval is not None:
        reach = [[middle - interval[0]], [interval[1] - middle]]
        axes.errorbar([middle], [0], xerr=reach, color=canvas.INK, capsize=9, linewidth=1.6)
    axes.plot([middle], [0], "D", markersize=5.5, color=canvas.INK)
    axes.set_yticks([0], [say("difference_mean")], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-1, 1)
    axes.set_xlabel(say("difference_axis"), fontsize=9)


def _counted(document: Mapping[str, Any], variant: str, found: Differences, say: Words) -> str:
    """How many cases the interval rests on, and in how many groups, as the verdict on these pairs has it."""
    verdict = _verdicts(paired_with_base(document), variant).get(found.metric)
    return count(verdict, say) if verdict and verdict["n"] == len(found.values) else str(len(found.values))


def _mean_text(found: Differences, interval: tuple[float, float] | None, cases: str, say: Words) -> str:
    middle = say.number(mean(found.values), signed=True)
    if interval is None:
        return say("difference_no_interval", mean=middle, cases=cases)
    low, high = (say.number(end, signed=True) for end in interval)
    percent = say("percent", value=f"{_CONFIDENCE * 100:g}")
    return say("difference_interval", mean=middle, percent=percent, low=low, high=high, cases=cases)
