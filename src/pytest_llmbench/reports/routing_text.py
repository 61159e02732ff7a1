"""Routing in words: how often the expected tool is named, the rates a tool, what was named instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.reports.limits import CONFUSIONS
from pytest_llmbench.reports.routing import NO_TOOL, UNKNOWN, Routing, ToolRates

RATES = (N_("Prec."), N_("Recall"), N_("F1"))
_SUMMARY = N_("{variant}: {right} of {total} answers name the expected tool; mean F1 over the tools {f1}.")
_OR_NONE = N_(
    "{variant}: {right} of {total} answers name the expected tool, or none where none is right; mean F1 over the "
    "tools {f1}."
)


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
    return [say("Tool"), say("N"), *(say(title) for _ in found for title in RATES)]


def rate_rows(found: Sequence[Routing], say: Words) -> list[list[str]]:
    """A row a tool, as text: its name, its cases, and each variant's rates."""
    return [
        [
            tool_name(tool, say),
            str(max(rate.support for rate in rates if rate)),
            *(say.number(value) for rate in rates for value in _values(rate)),
        ]
        for tool, rates in sorted_rates(found)
    ]


def sorted_rates(found: Sequence[Routing]) -> list[tuple[str, list[ToolRates | None]]]:
    """Each tool with its rates in each variant; where the last variant is worst comes first."""
    rates = [{rate.tool: rate for rate in one.rates} for one in found]
    tools = dict.fromkeys(tool for known in rates for tool in known)
    return [(tool, [one.get(tool) for one in rates]) for tool in sorted(tools, key=lambda tool: _f1(rates[-1], tool))]


def _f1(rates: Mapping[str, ToolRates], tool: str) -> float:
    rate = rates.get(tool)
    return -1.0 if rate is None else rate.f1


def _values(rate: ToolRates | None) -> list[float | None]:
    return [rate.precision, rate.recall, rate.f1] if rate else [None] * len(RATES)


def confusion_lines(one: Routing, say: Words) -> Iterator[str]:
    """What the variant named instead of what it should have, most often first."""
    found = one.confusions()
    if not found:
        yield say("{variant} names no wrong tool.", variant=one.variant)
        return
    yield say("Named instead, by {variant}:", variant=one.variant)
    for (expected, named), count in found[:CONFUSIONS]:
        names = {"expected": tool_name(expected, say), "named": tool_name(named, say)}
        yield "  " + say("{expected} -> {named}: {count}", count=count, **names)
    if len(found) > CONFUSIONS:
        yield "  " + say("and {count} more kinds of confusion", count=len(found) - CONFUSIONS)


def tool_name(tool: str, say: Words) -> str:
    """A tool's name, or the words for none and for one that nobody knows."""
    if tool in {NO_TOOL, UNKNOWN}:
        return say("no tool") if tool == NO_TOOL else say("unknown tool")
    return tool
