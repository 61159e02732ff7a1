"""Where an adapter gained most and where it is weakest, case by case with both answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.reports.averages import keywords_found
from pytest_llmbench.reports.comparison import Change, Comparison, compare
from pytest_llmbench.reports.score_tables import case_name
from pytest_llmbench.reports.tables import aligned, shorten
from pytest_llmbench.reports.wording import UNSCORED, Words

TOP = 5
_TEXT_CELLS = 80
_CASE_CELLS = 48
_SPEED = ("latency_s", "tokens_per_s")


def rankings(document: Mapping[str, Any], variant: str, say: Words) -> Iterator[tuple[str, list[str]]]:
    """Two titled sections for one adapter: its greatest improvements, its greatest weaknesses."""
    comparison = compare(document, variant)
    if comparison is None or not comparison.changes:
        nothing = [say("no_pairs", variant=variant)]
        yield say("improvements", count=TOP, variant=variant), nothing
        yield say("weaknesses", count=TOP, variant=variant), nothing
        return
    ranked_by = say("ranked_by", metric=say.metric(comparison.metric))
    gains = _ranked(comparison.improvements(TOP), comparison, say) or [say("no_improvements")]
    yield say("improvements", count=TOP, variant=variant), [ranked_by, *gains]
    losses = _ranked(comparison.weaknesses(TOP), comparison, say) or [say("no_weaknesses")]
    yield say("weaknesses", count=TOP, variant=variant), [ranked_by, say("weakness_meaning"), *losses]


def _ranked(changes: Sequence[Change], comparison: Comparison, say: Words) -> list[str]:
    return [line for place, change in enumerate(changes, start=1) for line in _block(place, change, comparison, say)]


def _block(place: int, change: Change, comparison: Comparison, say: Words) -> list[str]:
    row, pair = change.row, (comparison.base, comparison.tuned)
    scores = f"{say.number(change.base)} -> {say.number(change.tuned)} ({say.number(change.difference, signed=True)})"
    shown = [
        (say("prompt"), shorten(row["prompt"], _TEXT_CELLS)),
        *((variant, _answer(row["completions"].get(variant))) for variant in pair),
        (say("scores"), ", ".join(_scores(row, pair, comparison.metric, say)) or UNSCORED),
    ]
    head = f"{place:>2}. {case_name(row, _CASE_CELLS)}   {say.metric(comparison.metric)} {scores}"
    return [head, *(f"    {line}" for line in aligned(shown))]


def _answer(completion: Mapping[str, Any] | None) -> str:
    if completion is None:
        return UNSCORED
    return shorten(completion["error"] or completion["text"], _TEXT_CELLS) or '""'


def _scores(row: Mapping[str, Any], pair: tuple[str, str], ranked_by: str, say: Words) -> Iterator[str]:
    """The other metrics of both variants, without speed; keywords as found/expected."""
    for metric, by_variant in row["scores"].items():
        if metric in {ranked_by, *_SPEED}:
            continue
        found = [keywords_found(row, variant) if metric == "keywords" else None for variant in pair]
        if None not in found:
            values = [f"{count}/{len(row['keywords_expected'])}" for count in found]
        else:
            values = [say.number(by_variant[variant]) for variant in pair if variant in by_variant]
        if values:
            label = say("short_keywords") if metric == "keywords" else say.metric(metric)
            yield f"{label} {' -> '.join(values)}"
