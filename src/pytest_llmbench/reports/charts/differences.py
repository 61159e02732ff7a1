"""Paired differences: each case's change from the base to an adapter, and the mean with its interval."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.svg import drawing
from pytest_llmbench.reports.pairing import case_differences, relative_change
from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.case_counts import count
from pytest_llmbench.runs.comparison import LEADING_METRICS, higher_is_better
from pytest_llmbench.runs.typed import GateDocument, RunDocument, VerdictDocument

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

HEIGHT_INCHES = 8.0
_PAGE_INCHES = (4.8, 4.6)
_PANEL_INCHES = 5.4
_LEAST_WIDTH = 8.0
_EMPTY_INCHES = (8.0, 3.0)
_MOST_PANELS = 4
_LOOKS = {"better": (canvas.BETTER, "o"), "same": (canvas.SAME, "s"), "worse": (canvas.WORSE, "v")}
_NAMED_CASES = 5  # at each end
_HEADING_CELLS = 56
_CELLS_AN_INCH = 5.2  # for names: together a third of a panel
_CHARACTERS_AN_INCH = 13  # of the line below
_LABEL_POINTS = 11  # so that labels of neighbours stay apart
_CASES_SHARE = 0.62  # of a panel's height
_STEMS_UP_TO = 80
_SMALL_FROM = 1000
_MARK_POINTS = 1.2  # of the panel's height: more marks cannot be told apart
_NAMES_END, _LEADER_GAP = -0.07, 0.02  # of the width of the axes
_LEAST_FOR_INTERVAL = 2
_ASKED_AGAIN = ("confirmed", "unconfirmed")  # notes of a gate whose verdicts rest on fresh answers
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

    def kind(self, value: float) -> str | None:
        """What the change means, not its sign: a lower latency is better."""
        return relative_change(value, higher=self.higher_is_better)

    def tally(self) -> dict[str, int]:
        """How many cases got better, stayed and got worse."""
        kinds = [self.kind(value) for value in self.values]
        return {name: kinds.count(name) for name in _LOOKS}


@dataclasses.dataclass(frozen=True, slots=True)
class Middle:
    """The mean change, its interval where there is one, and how many cases they rest on.

    `lost` are those that are not drawn, since a side lost its answer, and count as the worst score. `is_fresh` where
    the gate asked again to confirm its verdict: the mean is then of other answers than those drawn.
    """

    mean: float
    interval: tuple[float, float] | None
    cases: str
    lost: int = 0
    is_fresh: bool = False


def save_differences(document: RunDocument, path: Path, say: Words, variant: str | None = None) -> None:
    """Draw into `path` as PNG: a panel for each metric that is gated on, or leads, and has pairs.

    `variant` is the first adapter when None. Always adapter minus base within this run, whatever its gate compares.
    """
    variant = variant or next(iter(document.adapters), None)
    panels = _panels(document, variant) if variant is not None else []
    size = (max(_LEAST_WIDTH, _PANEL_INCHES * len(panels)), HEIGHT_INCHES) if panels else _EMPTY_INCHES
    with canvas.figure_of(*size) as figure:
        if variant is None or not panels:
            canvas.nothing(figure.subplots(), _why_empty(document, variant, say))
        else:
            heading = say(
                "Change of each case: {base} → {variant}", base=BASE, variant=shorten_middle(variant, _HEADING_CELLS)
            )
            figure.suptitle(heading, fontsize=14, fontweight="bold", parse_math=False)
            parts = figure.subfigures(1, len(panels), squeeze=False).flat
            for part, found in zip(parts, panels, strict=True):
                _panel(part, found, middle_of(document, variant, found, say), say)
        canvas.save_png(figure, path)


def differences_in_page(found: Differences, middle: Middle, name: str, label: str, say: Words) -> str:
    """One panel as SVG, `name` being unique in its page and `label` what it shows in words."""
    return drawing(name, label, _PAGE_INCHES, lambda figure: _panel(figure, found, middle, say))


def _why_empty(document: RunDocument, variant: str | None, say: Words) -> str:
    if variant is not None:
        given = {name: document.answers.get(name, ()) for name in (BASE, variant)}
        lost = [name for name, own in given.items() if own and not any(answer.answered for answer in own)]
        if lost:
            return say("Every answer of {variant} was lost: no change can be drawn.", variant=", ".join(lost))
        return say("Nothing scored")
    return say(
        "Only {variant} answered: there is nothing to compare. Run with a base and an adapter for a verdict.",
        variant=", ".join(document.variants),
    )


def _panels(document: RunDocument, variant: str) -> list[Differences]:
    named = list(_verdicts(document.gate or document.paired_with_base, variant)) or list(LEADING_METRICS)
    found = [differences(document, variant, metric) for metric in named]
    return [one for one in found if one.changes][:_MOST_PANELS]


def _verdicts(gate: GateDocument | None, variant: str) -> dict[str, VerdictDocument]:
    """The overall verdicts on this adapter by metric, whatever they are against."""
    return {
        verdict.metric: verdict
        for verdict in (gate.verdicts if gate else ())
        if verdict.variant == variant and verdict.category is None
    }


def differences(document: RunDocument, variant: str, metric: str) -> Differences:
    """Every case's change of `metric` from the base to `variant`."""
    by_category = case_differences(document, metric, variant)
    known = [(round(value, _ROUNDING), case) for cases in by_category.values() for case, value in cases.items()]
    cases = document.statistics.cases
    return Differences(metric, tuple(sorted(known)), cases - len(known), higher_is_better(document, metric))


def middle_of(document: RunDocument, variant: str, found: Differences, say: Words) -> Middle:
    """As the verdict on these pairs has it, which counts lost answers too; else computed over the cases drawn."""
    gate = document.paired_with_base
    verdict = _verdicts(gate, variant).get(found.metric)
    if gate is not None and verdict is not None and verdict.low is not None and verdict.high is not None:
        is_fresh = any(note.kind in _ASKED_AGAIN for note in gate.notes)
        ends = verdict.low, verdict.high
        return Middle(verdict.effect, ends, count(verdict, say), _lost(gate, variant, found), is_fresh)

    import numpy as np

    from pytest_llmbench.stats import change_interval

    values = np.asarray(found.values)
    interval = change_interval(values) if len(values) >= _LEAST_FOR_INTERVAL else None
    return Middle(mean(found.values) or 0.0, interval, str(len(values)))


def _lost(gate: GateDocument, variant: str, found: Differences) -> int:
    """How many cases the gate counted as the worst score and are not drawn."""
    told = (note for note in gate.notes if note.kind == "lost")
    counted = {
        case
        for note in told
        if (note.data.get("metric"), note.data.get("variant")) == (found.metric, variant)
        for case in note.cases
    }
    return len(counted.difference(case for _, case in found.changes))


def _panel(part: Figure | SubFigure, found: Differences, middle: Middle, say: Words) -> None:
    """Cases above, and below them on the same axis the mean: it lies over no case whatever their number."""
    cases, below = part.subplots(2, 1, sharex=True, height_ratios=(8, 1))
    told = [say("{better} better, {same} same, {worse} worse", **found.tally())]
    if middle.lost:
        told.append(say("{count} lost: the worst score in the mean, not drawn", count=middle.lost))
    if (unscored := found.unscored - middle.lost) > 0:
        told.append(say("{count} unscored, left out", count=unscored))
    if middle.is_fresh:
        told.append(say("the mean is of the answers asked again, the cases are of the first"))
    canvas.title(cases, say.metric(found.metric), pad=32 + 10 * max(0, len(told) - 2))
    cases.annotate(
        "\n".join(told),
        xy=(0.5, 1),
        xytext=(0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
    )
    width, height = part.bbox.width / part.dpi, part.bbox.height / part.dpi
    _draw_cases(cases, found, height, say)
    _name_cases(cases, found, _LABEL_POINTS / 72 / height / _CASES_SHARE, round(_CELLS_AN_INCH * width))
    _draw_mean(below, middle, say)
    part.supxlabel(textwrap.fill(_mean_text(middle, say), round(_CHARACTERS_AN_INCH * width)), fontsize=9)
    for axes in (cases, below):
        axes.axvline(0, color=canvas.INK, linewidth=1.0, zorder=1)
        canvas.dress(axes, "x", hidden=("top", "right", "left"))
    below.set_xlim(*_reach(found.values, middle.interval))
    below.xaxis.set_major_formatter(canvas.ticks(say))


def _reach(values: Sequence[float], interval: tuple[float, float] | None) -> tuple[float, float]:
    """The axis: as far as differences of shares can reach, on each side that has any; else as far as the data."""
    low, high = min([*values, *(interval or ()), 0.0]), max([*values, *(interval or ()), 0.0])
    if max(map(abs, values), default=0.0) <= 1:
        low, high = (-1.0 if low < 0 else 0.0), (1.0 if high > 0 else 0.0)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_cases(axes: Axes, found: Differences, height: float, say: Words) -> None:
    """A dot a case, with a stem where there is room; the marker tells better from worse without colour."""
    changes, total = found.changes, len(found.changes)
    stems = total <= _STEMS_UP_TO
    size = 5.5 if stems else 3.0 if total < _SMALL_FROM else 1.7
    drawn = _thinned(total, round(height * 72 / _MARK_POINTS))
    for kind, (colour, marker) in _LOOKS.items():
        own = [place for place in drawn if found.kind(changes[place][0]) == kind]
        values = [changes[place][0] for place in own]
        if stems:
            axes.hlines(own, 0, values, color=colour, linewidth=1.6)
        face = canvas.PAPER if kind == "same" else colour
        [dots] = axes.plot(
            values, own, marker, markersize=size, color=colour, markerfacecolor=face, markeredgewidth=0.8
        )
        if stems:
            canvas.titled(dots, [f"{changes[place][1]}: {say.number(changes[place][0], signed=True)}" for place in own])
    axes.set_ylim(-0.6, total - 0.4)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.yaxis.set_label_position("right")  # the names are on the left
    axes.set_ylabel(say("Cases, sorted by change"), fontsize=9)


def _thinned(total: int, most: int) -> Sequence[int]:
    """All places, or the middle one of each of so many equal shares, so that shares stay true, and both ends."""
    if total <= most:
        return range(total)
    shares = {int((place + 0.5) * total / most) for place in range(most)}
    return sorted(shares | {*range(_NAMED_CASES)} | {total - 1 - place for place in range(_NAMED_CASES)})


def _name_cases(axes: Axes, found: Differences, gap: float, cells: int) -> None:
    """Name the most moved cases beside the axis, pushed apart where they lie close, with a line to their place."""
    from matplotlib.collections import LineCollection

    places = range(len(found.changes))
    lowest = [place for place in places[:_NAMED_CASES] if found.changes[place][0] < 0]
    highest = [place for place in reversed(places[-_NAMED_CASES:]) if found.changes[place][0] > 0]
    leaders = []
    for place, height in [*_spread(lowest, len(places), gap), *_spread(highest, len(places), -gap)]:
        axes.text(
            _NAMES_END,
            height,
            shorten_middle(found.changes[place][1], cells),
            transform=axes.transAxes,
            ha="right",
            va="center",
            fontsize=8,
            parse_math=False,
        )
        leaders.append([(_NAMES_END + _LEADER_GAP, height), (0, _height(place, len(places)))])
    # Plain lines: an arrow of an annotation is cut at its text by bisection, a quarter of the time of the chart.
    lines = LineCollection(leaders, transform=axes.transAxes, colors=canvas.LEADER, linewidths=0.6, clip_on=False)
    axes.add_collection(lines, autolim=False)


def _spread(places: Sequence[int], total: int, gap: float) -> Iterator[tuple[int, float]]:
    """Heights as fractions of the axis, from one end inwards, `gap` apart at least: upwards where it is positive."""
    before: float | None = None
    for place in places:
        height = _height(place, total)
        if before is not None and (height - before) * math.copysign(1, gap) < abs(gap):
            height = before + gap
        before = height
        yield place, height


def _height(place: int, total: int) -> float:
    return (place + 0.6) / (total + 0.2)


def _draw_mean(axes: Axes, middle: Middle, say: Words) -> None:
    if middle.interval is not None:
        axes.plot(middle.interval, [0, 0], "|-", color=canvas.INK, markersize=18, markeredgewidth=1.0, linewidth=1.6)
    axes.plot([middle.mean], [0], "D", markersize=5.5, color=canvas.INK)
    axes.set_yticks([0], [say("Mean")], fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-1, 1)
    axes.set_xlabel(say("Change of the score"), fontsize=9)


def _mean_text(middle: Middle, say: Words) -> str:
    told = {"mean": say.number(middle.mean, signed=True), "cases": middle.cases}
    if middle.interval is None:
        return say("Mean {mean}, no interval, n = {cases}", **told)
    low, high = (say.number(end, signed=True) for end in middle.interval)
    percent = say("{value}%", value=f"{_CONFIDENCE * 100:g}")
    return say(
        "Mean {mean}, {percent} interval {low} to {high}, n = {cases}", **told, percent=percent, low=low, high=high
    )
