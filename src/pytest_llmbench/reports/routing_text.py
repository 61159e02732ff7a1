"""Routing in the text report: how often the expected tool is named, the rates a tool, what was named instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.routing import NO_TOOL, UNKNOWN, Routing, routings, unavailable
from pytest_llmbench.reports.tables import boxed, wrapped

MOST_CONFUSIONS = 10
_TOOL_CELLS = 28
_VARIANT_CELLS = 14
_RATES = ("routing_precision", "routing_recall", "routing_f1")


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
    return [*wrapped(summaries(found, say)), *boxed(header, rows), *wrapped([say("routing_note"), *confusions])]


def summaries(found: Sequence[Routing], say: Words) -> Iterator[str]:
    """A sentence a variant, and one more where answers could not be judged."""
    for one in found:
        numbers = {"right": one.right, "total": one.total, "f1": say.number(one.macro_f1)}
        is_none_right = any(rate.tool == NO_TOOL for rate in one.rates)
        yield say("routing_summary_none" if is_none_right else "routing_summary", variant=one.variant, **numbers)
        if one.unscored:
            yield say("routing_unscored", variant=one.variant, count=one.unscored)


def header_of(found: Sequence[Routing], say: Words) -> list[str]:
    """The titles of `rate_rows`."""
    return [say("routing_tool"), say("routing_support"), *(say(key) for _ in found for key in _RATES)]


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
        yield say("routing_no_confusions", variant=one.variant)
        return
    yield say("routing_confusions", variant=one.variant)
    for (expected, named), count in found[:most]:
        names = {"expected": tool_name(expected, say), "named": tool_name(named, say)}
        yield "  " + say("routing_confusion", count=count, **names)
    if len(found) > most:
        yield "  " + say("routing_more", count=len(found) - most)


def tool_name(tool: str, say: Words) -> str:
    """A tool's name, or the words for none and for one that nobody knows."""
    if tool in {NO_TOOL, UNKNOWN}:
        return say("routing_none" if tool == NO_TOOL else "routing_unknown")
    return tool
