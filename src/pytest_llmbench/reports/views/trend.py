"""The saved runs as a table: what the trend's figure and the page draw, in every format."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.blocks import Cell, Column, Name, Number, Outcome, Section, Sentences, Table
from pytest_llmbench.reports.gate_sentences import GATED
from pytest_llmbench.reports.part_means import part_means
from pytest_llmbench.runs.averages import asked_alike
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.typed import RunPoint


def trend_section(history: Sequence[RunPoint], say: Words) -> Section:
    """Each saved run, oldest first and this one last, with the means of the metrics that judge.

    `history` holds runs in short, as `averages.in_short` makes them.
    """
    latest = history[-1]
    shown = [
        (metric, variant)
        for variant, means in latest.variants.items()
        for metric in LEADING_METRICS
        if means.get(metric) is not None
    ]
    columns = [
        Column(say("Run"), left=True),
        Column(say("Date"), left=True),
        Column(say("Verdict"), left=True),
        *(Column(say.metric(metric), variant) for metric, variant in shown),
    ]
    rows: list[list[Cell]] = [
        [
            Name(point.name),
            say.moment(point.timestamp),
            _outcome(point, say),
            *(Number(point.variants.get(variant, {}).get(metric)) for metric, variant in shown),
        ]
        for point in history
    ]
    others = [point.name for point in history if not asked_alike(point, latest)]
    told = [say("{label}: {text}", label=say("other cases: not comparable"), text=", ".join(others))] if others else []
    told += part_means(history, say)
    return Section(
        "trend",
        say("Trend over the saved runs ({count})", count=len(history)),
        [Table(columns, rows), Sentences(told)],
        folded=True,
    )


def _outcome(point: RunPoint, say: Words) -> Cell:
    outcome = point.outcome
    return "-" if outcome is None else Outcome(outcome, say(GATED[outcome]).lower())
