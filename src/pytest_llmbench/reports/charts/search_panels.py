"""The panels of the figure: curve, latencies, timeline, temperature, and targets side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.autotune.diagnosis.phases import Finding, Trial
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.charts import canvas
from pytest_llmbench.reports.charts.search_series import (
    MOST_DOTS,
    OUTCOMES,
    PERCENTILES,
    dots,
    is_strict,
    latencies,
    point_share,
    reach,
    spans,
    tried,
)
from pytest_llmbench.reports.serving.answers import Target, answer, number_text, value_text
from pytest_llmbench.reports.serving.words import ServingWords

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_VERDICTS = {"held": (canvas.HELD, "o"), "undecided": (canvas.UNDECIDED, "s"), "broken": (canvas.BROKEN, "X")}
_DOTS = {"good": (canvas.HELD, "o"), "late": (canvas.BROKEN, "^"), "failed": (canvas.FAILED, "x")}
_SHADES = {
    "held": (canvas.HELD, 0.14),
    "undecided": (canvas.UNDECIDED, 0.14),
    "broken": (canvas.BROKEN, 0.16),
    "invalid": (canvas.FAILED, 0.16),
}
LineStyle = Literal["-", "--", "-.", ":"]
_LINES: tuple[LineStyle, ...] = ("-", "--", "-.", ":")
_LOG_FROM = 25.0  # times the least
_NAME_CELLS = 30
_TITLE_CHARACTERS = 36


def curve(axes: Axes, finding: Finding, say: ServingWords) -> None:
    """The share of good answers against the level, the trials as points, the wanted share and the limit."""
    _curve(axes, finding, say, say("probability_curve"))
    canvas.legend(axes, columns=3)


def small_curve(axes: Axes, finding: Finding, say: ServingWords, name: str = "") -> None:
    """The same for another question, without a legend; with the share of answers cut off where that is searched."""
    of = f"{shorten_middle(name, _NAME_CELLS)}\n" if name else ""
    _curve(axes, finding, say, of + textwrap.fill(_short_answer(finding, say), _TITLE_CHARACTERS))
    cut = finding["cut_off"] or []
    if cut:
        levels, shares = [one["level"] for one in cut], [one["share"] for one in cut]
        [line] = axes.plot(levels, shares, "D:", color=canvas.CUT_OFF, markersize=4, zorder=3)
        canvas.legend(axes, columns=1, handles=[line], labels=[say("figure_cut")])


def _curve(axes: Axes, finding: Finding, say: ServingWords, title: str) -> None:
    canvas.title(axes, title)
    low, high = reach(finding)
    _limit_band(axes, finding)
    capacity = say("figure_capacity", value=value_text(finding, say))
    axes.axvline(finding["value"], color=canvas.LIMIT, linewidth=1.4, zorder=1, label=capacity)
    wanted = say("figure_wanted", share=say.wanted(finding["wanted_share"]))
    axes.axhline(finding["wanted_share"], color=canvas.INK, linewidth=1.1, linestyle="--", label=wanted, zorder=1)
    points = [point for point in finding["curve"] if point["level"] <= high]
    levels = [point["level"] for point in points]
    lows, highs = [point["low"] for point in points], [point["high"] for point in points]
    axes.fill_between(
        levels, lows, highs, color=canvas.HELD, alpha=0.16, linewidth=0, label=say("figure_band"), zorder=2
    )
    axes.plot(
        levels,
        [point["share"] for point in points],
        color=canvas.HELD,
        linewidth=1.8,
        label=say("figure_fit"),
        zorder=3,
    )
    _trial_points(axes, finding, say)
    margin = 0.04 * (high - low) or 0.5
    axes.set_xlim(min(low, levels[0] if levels else low) - margin, high + margin)
    axes.set_ylim(-0.04, 1.06)
    axes.yaxis.set_major_formatter(lambda value, _: say.share(round(value, 3)))
    _level_axis(
        axes, finding["question"], say, say("figure_curve_axis_strict" if is_strict(finding) else "figure_curve_axis")
    )


def _trial_points(axes: Axes, finding: Finding, say: ServingWords) -> None:
    for verdict, (colour, marker) in _VERDICTS.items():
        own = [trial for trial in tried(finding) if trial["verdict"] == verdict]
        if own:
            marks = axes.scatter(
                [trial["level"] for trial in own],
                [point_share(finding, trial) for trial in own],
                s=[16 + 0.6 * min(trial["total"], 150) for trial in own],
                c=colour,
                marker=marker,
                edgecolors=canvas.PAPER,
                linewidths=0.7,
                alpha=0.85,
                zorder=4,
                label=say("figure_trial", verdict=say(f"verdict_{verdict}")),
            )
            canvas.titled(marks, [_trial_title(trial, say) for trial in own])


def _trial_title(trial: Trial, say: ServingWords) -> str:
    return f"{say.plain(trial['level'])}: {trial['good']}/{trial['total']}, {say('verdict_' + trial['verdict'])}"


def _limit_band(axes: Axes, finding: Finding) -> None:
    """The interval of the limit, as far as levels are shown."""
    end = max(finding["value"], min(finding["high"], reach(finding)[1]))
    axes.axvspan(finding["low"], end, color=canvas.LIMIT_BAND, alpha=0.28, linewidth=0, zorder=0)


def latency(axes: Axes, finding: Finding, say: ServingWords) -> None:
    """Percentiles of what the limit is for, by level, against the limit."""
    shown = latencies(finding)
    first = finding["slo"]["latency"] == "first_token"
    canvas.title(axes, say("figure_latency") + (f" ({say('figure_first_shown')})" if first else ""))
    for place, percentile in enumerate(PERCENTILES):
        axes.plot(
            list(shown),
            [values[place] for values in shown.values()],
            color=canvas.PERCENTILES[place],
            linestyle=_LINES[place],
            marker=".",
            linewidth=1.6,
            label=f"p{percentile}",
        )
    limit_s = finding["slo"]["limit_s"]
    label = say("figure_limit", limit=say.limit(limit_s))
    axes.axhline(limit_s, color=canvas.BROKEN, linewidth=1.2, linestyle="--", label=label)
    _limit_band(axes, finding)
    low, high = reach(finding)
    margin = 0.04 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)
    _time_axis(axes, [value for values in shown.values() for value in values] + [limit_s], say)
    _level_axis(axes, finding["question"], say, say("figure_latency_axis"))
    canvas.legend(axes, columns=5)


def timeline(part: Figure | SubFigure, finding: Finding, say: ServingWords, most: int = MOST_DOTS) -> None:
    """Every request a dot where it was sent; under it the level of load, trials shaded by their verdict.

    Of very many good requests, at most about `most` are drawn.
    """
    above, below = part.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    canvas.title(above, say("figure_timeline"))
    shown, step = dots(finding, most)
    for name in OUTCOMES:
        own = [dot for dot in shown if dot.outcome == name]
        if own:
            colour, marker = _DOTS[name]
            above.scatter(
                [dot.at_s for dot in own],
                [dot.latency_s for dot in own],
                s=7 if name == "good" else 13,
                c=colour,
                marker=marker,
                linewidths=0.0 if name != "failed" else 0.9,
                alpha=0.75,
                label=say(f"figure_{name}"),
                zorder=3,
            )
    limit_s = finding["slo"]["limit_s"]
    above.axhline(
        limit_s, color=canvas.BROKEN, linewidth=1.0, linestyle="--", label=say("figure_limit", limit=say.limit(limit_s))
    )
    _time_axis(above, [dot.latency_s for dot in shown] + [limit_s], say)
    for span in spans(finding):
        for axes in (above, below):
            colour, depth = _SHADES[span.verdict]
            axes.axvspan(span.start_s, span.end_s, color=colour, alpha=depth, linewidth=0, zorder=0)
        below.plot([span.start_s, span.end_s], [span.level] * 2, color=canvas.INK, linewidth=2.2)
    below.set_ylim(bottom=0)
    below.margins(y=0.25)
    below.set_ylim(bottom=0)
    _dress(above, "", say("figure_latency_axis"), say)
    _dress(below, say("figure_time_axis"), say(f"axis_{finding['question']}"), say)
    above.tick_params(axis="x", labelbottom=False, length=0)
    handles, labels = above.get_legend_handles_labels()
    handles += [_patch(*_SHADES[name]) for name in _seen(finding)]
    labels += [say("figure_trial", verdict=say(f"verdict_{name}")) for name in _seen(finding)]
    if step > 1:
        handles.append(_patch(canvas.PAPER, 0.0))
        labels.append(say("thinned", step=step))
    canvas.legend(below, columns=8, handles=handles, labels=labels)


def _seen(finding: Finding) -> list[str]:
    verdicts = {trial["verdict"] for trial in finding["trials"]}
    return [name for name in _SHADES if name in verdicts]


def _patch(colour: str, depth: float) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, alpha=depth, linewidth=0.5)


def temperature(axes: Axes, grid: Mapping[str, Any], metrics: Sequence[str], say: ServingWords, name: str = "") -> None:
    """Means of some metrics by temperature with their intervals, set a little apart so that none hides another."""
    heading = say("figure_temperature")
    canvas.title(axes, f"{heading}\n{shorten_middle(name, _NAME_CELLS)}" if name else heading)
    values = [point["temperature"] for point in grid["points"]]
    room = (max(values) - min(values) or 1.0) * 0.012
    for place, metric in enumerate(metrics):
        scores = [point["scores"].get(metric) for point in grid["points"]]
        known = [(at, score) for at, score in zip(values, scores, strict=True) if score and score["mean"] is not None]
        reaches = [
            [score["mean"] - score[end] if end == "low" else score[end] - score["mean"] for _, score in known]
            for end in ("low", "high")
            if all(score[end] is not None for _, score in known)
        ]
        axes.errorbar(
            [at + (place - (len(metrics) - 1) / 2) * room for at, _ in known],
            [score["mean"] for _, score in known],
            yerr=reaches if len(reaches) == 2 else None,  # noqa: PLR2004  # both ends
            color=target_colour(place),
            linestyle=_LINES[place % len(_LINES)],
            marker="osD^v"[place % 5],
            markersize=5,
            capsize=3,
            linewidth=1.4,
            label=say.metric(metric),
        )
    if grid["best"] is not None:
        axes.axvline(grid["best"], color=canvas.LIMIT, linewidth=1.2, zorder=1, label=say("figure_best"))
    axes.yaxis.set_major_formatter(canvas.ticks(say))
    _dress(axes, say("temperature_axis"), say("score"), say)
    canvas.legend(axes, columns=2)


def compare_limits(axes: Axes, question: str, targets: Sequence[Target], say: ServingWords) -> None:
    """The limit of each target with its interval."""
    canvas.title(axes, say("figure_compare", question=say(f"question_{question}")))
    asked = [(place, target) for place, target in enumerate(targets) if question in target["findings"]]
    for row, (place, target) in enumerate(asked):
        finding, colour = target["findings"][question], target_colour(place)
        axes.plot([finding["low"], finding["high"]], [row, row], color=colour, linewidth=7, alpha=0.35)
        axes.plot([finding["value"]], [row], "o", color=colour, markersize=9)
        axes.annotate(
            number_text(finding, say),
            (finding["value"], row),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=10,
            fontweight="bold",
        )
    names = [shorten_middle(target["name"], _NAME_CELLS) for _, target in asked]
    axes.set_yticks(range(len(asked)), names, parse_math=False)
    axes.set_ylim(len(asked) - 0.5, -0.7)
    highest = max(max(target["findings"][question][end] for end in ("value", "high")) for _, target in asked)
    axes.set_xlim(0, 1.08 * highest or 1.0)
    _level_axis(axes, question, say, "")


def compare_curves(axes: Axes, question: str, targets: Sequence[Target], say: ServingWords) -> None:
    """The fitted curves of all targets together."""
    canvas.title(axes, say("figure_compare_curves"))
    for place, target in enumerate(targets):
        finding = target["findings"].get(question)
        if finding is None or not finding["curve"]:
            continue
        levels = [point["level"] for point in finding["curve"]]
        lows, highs = ([point[end] for point in finding["curve"]] for end in ("low", "high"))
        axes.fill_between(levels, lows, highs, color=target_colour(place), alpha=0.13, linewidth=0)
        axes.plot(
            levels,
            [point["share"] for point in finding["curve"]],
            color=target_colour(place),
            linestyle=_LINES[place % len(_LINES)],
            linewidth=1.8,
            label=shorten_middle(target["name"], _NAME_CELLS),
        )
        axes.axhline(finding["wanted_share"], color=canvas.INK, linewidth=0.9, linestyle="--", zorder=1)
    axes.set_ylim(-0.04, 1.06)
    axes.yaxis.set_major_formatter(lambda value, _: say.share(round(value, 3)))
    _level_axis(axes, question, say, say("figure_curve_axis"))
    canvas.legend(axes, columns=2)


def _short_answer(finding: Finding, say: ServingWords) -> str:
    if not finding["held"]:
        return answer(finding, say)
    question = finding["question"]
    return say("colon", name=say(f"question_{question}"), value=value_text(finding, say))


def target_colour(place: int) -> str:
    """The colour of a target, the same in every panel."""
    return (*canvas.VARIANTS[1:], canvas.VARIANTS[0])[place % len(canvas.VARIANTS)]


def _time_axis(axes: Axes, values: Sequence[float], say: ServingWords) -> None:
    """Seconds from zero, or on a logarithmic axis when they differ too much to be read on one."""
    positive = [value for value in values if value > 0]
    if max(positive) > _LOG_FROM * sorted(positive)[len(positive) // 20]:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.08 * max(positive))
    axes.yaxis.set_major_formatter(canvas.ticks(say))


def _level_axis(axes: Axes, question: str, say: ServingWords, y: str) -> None:
    """Whole levels have whole ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=question != "rate"))
    _dress(axes, say(f"axis_{question}"), y, say)


def _dress(axes: Axes, x: str, y: str, say: ServingWords) -> None:
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)
    axes.xaxis.set_major_formatter(canvas.ticks(say))
    canvas.dress(axes)
