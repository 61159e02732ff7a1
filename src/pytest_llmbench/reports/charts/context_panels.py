"""The panels of a context run: the law of the first token with the limits, rates, and what is found by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.context.analysis import was_read
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_axes import LINES, dress_axis, target_colour
from pytest_llmbench.reports.context_words import LIMIT_TITLES
from pytest_llmbench.reports.serving.words import ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytest_llmbench.runs.context_document import AccuracyDocument, ContextTarget, LawDocument, LimitName

_COLOURS: dict[LimitName, str] = {"accepted": canvas.FAILED, "in_time": canvas.BROKEN, "right": canvas.LIMIT}
_LOG_FROM = 25.0  # times the least
_CURVE_POINTS = 160
_NAME_CELLS = 30
_DARK_FROM = 0.55
_LEAST_SHADE, _MOST_SHADE = 0.06, 0.88
_MOST_TEXTS = 14  # lengths whose cells have room for their numbers


def law_panel(axes: Axes, target: ContextTarget, say: ServingWords) -> None:
    """Each prompt's time to its first token, the fitted law, the promise, and where the three limits are."""
    canvas.title(axes, say("Time to the first token by length"))
    timed = [(probe.prompt_tokens, probe.first_token_s) for probe in target.probes if was_read(probe)]
    seconds = [time for _, time in timed if time]
    axes.plot(
        [length for length, _ in timed],
        seconds,
        "o",
        color=canvas.HELD,
        markersize=4,
        alpha=0.45,
        markeredgewidth=0,
        label=say("a prompt"),
    )
    law = target.analysis.law if target.analysis else None
    if law is not None:
        lengths = _spread_out(law)
        axes.plot(lengths, [law.seconds(one) for one in lengths], color=canvas.INK, linewidth=1.6, label=say("law"))
    promise = target.promise
    if promise.latency == "first_token":
        label = say("promise {limit}", limit=say.limit(promise.latency_s))
        axes.axhline(promise.latency_s, color=canvas.BROKEN, linewidth=1.1, linestyle="--", label=label)
        seconds.append(promise.latency_s)
    _limits(axes, target, say)
    lengths_axis(axes, [length for length, _ in timed], say)
    _amount_axis(axes, seconds, say("seconds"), say)
    canvas.legend(axes, columns=3)


def rates_panel(axes: Axes, target: ContextTarget, say: ServingWords) -> None:
    """How many tokens a second are read and written, by length."""
    canvas.title(axes, say("Tokens per second by length"))
    times = target.analysis.times if target.analysis else ()
    read = [(one.length, one.prefill_tokens_per_s) for one in times]
    written = [(one.length, one.decode_tokens_per_s) for one in times if one.decode_tokens_per_s]
    for points, colour, line, label in (
        (read, canvas.HELD, LINES[0], say("read")),
        (written, canvas.BROKEN, LINES[1], say("written")),
    ):
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, linestyle=line, linewidth=1.6, label=label)
    lengths_axis(axes, [length for length, _ in read], say)
    _amount_axis(axes, [rate for _, rate in [*read, *written]], say("tokens/s"), say)
    canvas.legend(axes, columns=2)


def facts_panel(axes: Axes, target: ContextTarget, say: ServingWords) -> None:
    """The share of facts that was found, a cell for each length and depth: the fainter, the fewer."""
    cells = [one for one in (target.analysis.by_depth if target.analysis else ()) if one.depth is not None]
    canvas.title(axes, say("Facts found by depth and length"))
    lengths, depths = sorted({one.length for one in cells}), sorted({one.depth or 0.0 for one in cells})
    for one in cells:
        _cell(axes, lengths.index(one.length), depths.index(one.depth or 0.0), one, len(lengths) <= _MOST_TEXTS, say)
    axes.set_xlim(-0.5, len(lengths) - 0.5)
    axes.set_ylim(len(depths) - 0.5, -0.5)
    steep = len(lengths) > _MOST_TEXTS // 2
    ticks = [say.count(length) for length in lengths]
    axes.set_xticks(range(len(lengths)), ticks, rotation=40 if steep else 0, ha="right" if steep else "center")
    axes.set_yticks(range(len(depths)), [say.share(depth) for depth in depths])
    axes.set_xlabel(say("prompt tokens"), fontsize=10)
    axes.set_ylabel(say("depth (0 %: the beginning)"), fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _cell(axes: Axes, across: int, down: int, one: AccuracyDocument, told: bool, say: ServingWords) -> None:  # noqa: FBT001  # of one panel
    from matplotlib.colors import to_hex, to_rgb
    from matplotlib.patches import Rectangle

    share = one.share.value
    depth = _LEAST_SHADE + (_MOST_SHADE - _LEAST_SHADE) * share
    red, green, blue = (1 - depth * (1 - part) for part in to_rgb(canvas.HELD))
    fill = to_hex((red, green, blue))
    axes.add_patch(Rectangle((across - 0.48, down - 0.46), 0.96, 0.92, facecolor=fill, edgecolor=canvas.GRID))
    if told:
        ink = "#fefefe" if share >= _DARK_FROM else "#111111"  # on a fill that no theme changes
        text = f"{say.share(share)}\n{one.found}/{one.facts}"
        axes.text(across, down, text, ha="center", va="center", fontsize=8, color=ink)


def laws_panel(axes: Axes, targets: Sequence[ContextTarget], say: ServingWords) -> None:
    """The laws of several targets."""
    canvas.title(axes, say("Time to the first token by target"))
    lengths, seconds = [], []
    for place, target in enumerate(targets):
        law = target.analysis.law if target.analysis else None
        if law is not None:
            grid = _spread_out(law)
            costs = [law.seconds(one) for one in grid]
            name = canvas.entry(shorten_middle(target.name, _NAME_CELLS))
            line = LINES[place % len(LINES)]
            axes.plot(grid, costs, color=target_colour(place), linestyle=line, linewidth=1.8, label=name)
            lengths += grid
            seconds += costs
    lengths_axis(axes, lengths, say)
    _amount_axis(axes, seconds, say("seconds"), say)
    canvas.legend(axes, columns=2)


def answers_panel(axes: Axes, targets: Sequence[ContextTarget], say: ServingWords) -> None:
    """The answer of each target with its interval, and its three limits."""
    canvas.title(axes, say("Longest context by target"))
    ends = [1.0]
    for row, target in enumerate(targets):
        answer, colour = target.answer, target_colour(row)
        if answer is not None:
            high = answer.tokens if answer.high is None else answer.high
            axes.plot([answer.low, high], [row, row], color=colour, linewidth=7, alpha=0.35)
            axes.plot([answer.tokens], [row], "o", color=colour, markersize=9)
            place = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center", "fontsize": 10}
            axes.annotate(say.count(answer.tokens), (answer.tokens, row), fontweight="bold", **place)  # type: ignore[arg-type]
        for name, limit in target.limits.sought():
            mark = {"marker": "|", "markersize": 16, "markeredgewidth": 2}
            label = say(LIMIT_TITLES[name]) if row == 0 else None
            axes.plot([limit.tokens], [row], color=_COLOURS[name], linestyle="none", label=label, **mark)  # type: ignore[arg-type]
            ends.append(limit.tokens)
    names = [shorten_middle(target.name, _NAME_CELLS) for target in targets]
    axes.set_yticks(range(len(targets)), names, parse_math=False)
    axes.set_ylim(len(targets) - 0.5, -0.7)
    axes.set_xlim(0, 1.08 * max(ends))
    dress_axis(axes, say("prompt tokens"), "", say)
    axes.xaxis.set_major_formatter(lambda value, _: say.count(round(value)))
    canvas.legend(axes, columns=3)


def _limits(axes: Axes, target: ContextTarget, say: ServingWords) -> None:
    for place, (name, limit) in enumerate(target.limits.sought()):
        if limit.tokens:
            colour = _COLOURS[name]
            label = say("{name}: {value}", name=say(LIMIT_TITLES[name]), value=say.count(limit.tokens))
            axes.axvline(limit.tokens, color=colour, linewidth=1.5, linestyle=LINES[place + 1], label=label)
            high = limit.tokens if limit.high is None else limit.high
            if high > limit.low > 0:
                axes.axvspan(limit.low, high, color=colour, alpha=0.1, linewidth=0, zorder=0)


def _spread_out(law: LawDocument) -> list[float]:
    """Lengths from the shortest to the longest, evenly spaced in proportion."""
    ratio = law.longest / law.shortest
    return [law.shortest * ratio ** (step / _CURVE_POINTS) for step in range(_CURVE_POINTS + 1)]


def lengths_axis(axes: Axes, lengths: Sequence[float], say: ServingWords) -> None:
    """Prompt tokens, logarithmic where they differ much."""
    if lengths and max(lengths) > _LOG_FROM / 2 * min(lengths):
        axes.set_xscale("log", base=2)
    dress_axis(axes, say("prompt tokens"), "", say)
    axes.xaxis.set_major_formatter(lambda value, _: say.count(round(value)))
    axes.tick_params(axis="x", labelsize=9)


def _amount_axis(axes: Axes, values: Sequence[float], title: str, say: ServingWords) -> None:
    """Seconds or rates from zero, or logarithmic where they differ much."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) > _LOG_FROM * min(positive):
        axes.set_yscale("log")
        canvas.log_ticks(axes.yaxis, say)
    else:
        axes.set_ylim(0, 1.08 * max(positive, default=1.0))
        axes.yaxis.set_major_formatter(canvas.ticks(say))
    axes.set_ylabel(title, fontsize=10)
