"""Where an adapter gained most and where it is weakest, case by case with both answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.text_cells import shorten
from pytest_llmbench.core.wording import UNSCORED, Words
from pytest_llmbench.reports.call_faults import calls_made, expected_calls, faults
from pytest_llmbench.reports.score_tables import case_name
from pytest_llmbench.reports.tables import aligned
from pytest_llmbench.reports.weaknesses import weaknesses
from pytest_llmbench.runs.averages import Row
from pytest_llmbench.runs.comparison import SPEED_METRICS, Comparison, compare

TOP = 5
_TEXT_CELLS = 80
_CASE_CELLS = 48


def rankings(document: Mapping[str, Any], variant: str, say: Words) -> Iterator[tuple[str, list[str]]]:
    """Two titled sections for one adapter: its greatest improvements, its greatest weaknesses."""
    yield say("improvements", count=TOP, variant=variant), _improvements(compare(document, variant), variant, say)
    yield say("weaknesses", count=TOP, variant=variant), _weaknesses(document, variant, say)


def _improvements(comparison: Comparison | None, variant: str, say: Words) -> list[str]:
    if comparison is None or not comparison.changes:
        return [say("no_pairs", variant=variant)]
    shown = [(change.row, comparison.metric) for change in comparison.improvements(TOP)]
    ranked = say("ranked_by", metric=say.metric(comparison.metric))
    return [ranked, *(_numbered(shown, variant, say) or [say("no_improvements")])]


def _weaknesses(document: Mapping[str, Any], variant: str, say: Words) -> list[str]:
    found = weaknesses(document, variant)
    if not found:
        return [say("no_weaknesses")]
    shown = [(weak.row, weak.worst) for weak in found[:TOP]]
    told = say("weakness_meaning", shown=len(shown), total=len(found))
    return [told, *_numbered(shown, variant, say)]


def _numbered(shown: Sequence[tuple[Row, str | None]], variant: str, say: Words) -> list[str]:
    return [
        line
        for place, (row, metric) in enumerate(shown, start=1)
        for line in _block(place, row, metric, (BASE, variant), say)
    ]


def _block(place: int, row: Row, metric: str | None, pair: tuple[str, str], say: Words) -> list[str]:
    shown = [
        (say("prompt"), shorten(row["prompt"], _TEXT_CELLS)),
        *((variant, _answer(row["completions"].get(variant))) for variant in pair),
        *_calls(row, pair, say),
        (say("scores"), ", ".join(_scores(row, pair, metric, say)) or UNSCORED),
    ]
    head = f"{place:>2}. {case_name(row, _CASE_CELLS)}{_change(row, metric, pair, say)}"
    return [head, *(f"    {line}" for line in aligned(shown))]


def _calls(row: Row, pair: tuple[str, str], say: Words) -> Iterator[tuple[str, str]]:
    """What should have been called, what was, and what is wrong with it; nothing for a case without tools."""
    expected = expected_calls(row, say)
    if expected is not None:
        yield say("calls_expected"), shorten("; ".join(expected), _TEXT_CELLS)
    for variant in pair:
        made = calls_made(row["completions"].get(variant), say)
        if made is not None:
            yield say("calls_made", variant=variant), shorten("; ".join(made), _TEXT_CELLS)
        if wrong := faults(row, variant, say):
            yield say("calls_wrong", variant=variant), shorten("; ".join(wrong), _TEXT_CELLS)


def _change(row: Row, metric: str | None, pair: tuple[str, str], say: Words) -> str:
    """`   Relevance 0.000 -> 1.000 (+1.000)`; nothing for an answer without scores."""
    if metric is None:
        return ""
    before, after = (row["scores"][metric].get(variant) for variant in pair)
    difference = None if before is None or after is None else after - before
    change = f" ({say.number(difference, signed=True)})" if difference is not None else ""
    return f"   {say.metric(metric)} {say.number(before)} -> {say.number(after)}{change}"


def _answer(completion: Mapping[str, Any] | None) -> str:
    if completion is None:
        return UNSCORED
    return shorten(completion["error"] or completion["text"], _TEXT_CELLS) or '""'


def _scores(row: Row, pair: tuple[str, str], ranked_by: str | None, say: Words) -> Iterator[str]:
    """The other metrics that scored either variant, without speed."""
    for metric, by_variant in row["scores"].items():
        values = [by_variant[variant] for variant in pair if variant in by_variant]
        if metric not in {ranked_by, *SPEED_METRICS} and any(value is not None for value in values):
            yield f"{say.metric(metric)} {' -> '.join(map(say.number, values))}"
