"""Routing in the text report: how often the expected tool is named, the rates a tool, what was named instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.reports.routing import NO_TOOL, UNKNOWN, Routing, routings, unavailable
from pytest_llmbench.reports.tables import boxed, wrapped

MOST_CONFUSIONS = 10
_TOOL_CELLS = 28
_VARIANT_CELLS = 14
_RATES = (N_("Prec."), N_("Recall"), N_("F1"))
_SUMMARY = N_("{variant}: {right} of {total} answers name the expected tool; mean F1 over the tools {f1}.")
_OR_NONE = N_(
    "{variant}: {right} of {total} answers name the expected tool, or none where none is right; mean F1 over the "
    "tools {f1}."
)


def routing_lines(document: Mapping[str, Any], say: Words) -> list[str]:
    """The section's lines; the one that says what to install where scikit-learn is not."""
    if missing := unavailable(document):
        return wrapped([missing])
    found = routings(document)
    header = [
        ["", "", *(shorten_middle(one.variant, _VARIANT_CELLS) for one in found for _ in _RATES)],
        header_of(found, say),
    ]
    rows = [[shorten_middle(cells[0], _TOOL_CELLS), *cells[1:]] for cells in rate_rows(found, say)]
    confusions = [line for one in found for line in confusion_lines(one, say)]
    return [
        *wrapped(summaries(found, say)),
        *boxed(header, rows),
        *wrapped(
            [
                say(
                    "Precision: of the answers that name a tool, how many should. Recall: of the cases of a "
                    "tool, how many "
                    "name it. F1 is their harmonic mean. '-': no answer names it."
                ),
                *confusions,
            ]
        ),
    ]


def summaries(found: Sequence[Routing], say: Words) -> Iterator[str]:
    """A sentence a variant, and one more where answers could not be judged."""
    for one in found:
        numbers = {"right": one.right, "total": one.total, "f1": say.number(one.macro_f1)}
        is_none_right = any(rate.tool == NO_TOOL for rate in one.rates)
        yield say(_OR_NONE if is_none_right else _SUMMARY, variant=one.variant, **numbers)
        if one.unscored:
            yield say(
                "{count} answers of {variant} could not be judged and are left out.",
                variant=one.variant,
                count=one.unscored,
            )


def header_of(found: Sequence[Routing], say: Words) -> list[str]:
    """The titles of `rate_rows`."""
    return [say("Tool"), say("N"), *(say(title) for _ in found for title in _RATES)]


def rate_rows(found: Sequence[Routing], say: Words) -> list[list[str]]:
    """A row a tool: its name, its cases, and each variant's rates; where the last variant is worst comes first."""
    rates = [{rate.tool: rate for rate in one.rates} for one in found]
    last = rates[-1]
    tools = sorted(dict.fromkeys(tool for known in rates for tool in known), key=lambda tool: _f1(last, tool))
    rows = []
    for tool in tools:
        known = [one.get(tool) for one in rates]
        support = max(rate.support for rate in known if rate)
        cells = [say.number(value) for rate in known for value in _values(rate)]
        rows.append([tool_name(tool, say), str(support), *cells])
    return rows


def _f1(rates: Mapping[str, Any], tool: str) -> float:
    rate = rates.get(tool)
    return -1.0 if rate is None or rate.f1 is None else rate.f1


def _values(rate: Any) -> list[float | None]:
    return [rate.precision, rate.recall, rate.f1] if rate else [None] * len(_RATES)


def confusion_lines(one: Routing, say: Words, most: int = MOST_CONFUSIONS) -> Iterator[str]:
    """What the variant named instead of what it should have, most often first."""
    found = one.confusions()
    if not found:
        yield say("{variant} names no wrong tool.", variant=one.variant)
        return
    yield say("Named instead, by {variant}:", variant=one.variant)
    for (expected, named), count in found[:most]:
        names = {"expected": tool_name(expected, say), "named": tool_name(named, say)}
        yield "  " + say("{expected} -> {named}: {count}", count=count, **names)
    if len(found) > most:
        yield "  " + say("and {count} more kinds of confusion", count=len(found) - most)


def tool_name(tool: str, say: Words) -> str:
    """A tool's name, or the words for none and for one that nobody knows."""
    if tool in {NO_TOOL, UNKNOWN}:
        return say("no tool") if tool == NO_TOOL else say("unknown tool")
    return tool
