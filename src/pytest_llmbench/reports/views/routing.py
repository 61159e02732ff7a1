"""Tool calls and routing of a run: how often they are right, the rates a tool, what was named instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.reports.blocks import Block, Cell, Column, Name, Number, Section, Sentences, Table
from pytest_llmbench.reports.call_faults import call_summaries, has_calls
from pytest_llmbench.reports.routing import NO_TOOL, UNKNOWN, Routing, ToolRates, is_routed, routings
from pytest_llmbench.reports.routing_text import RATES, confusion_lines, sorted_rates, summaries, tool_name
from pytest_llmbench.runs.typed import RunDocument


def routing_sections(document: RunDocument, say: Words) -> Iterator[Section]:
    """The section on routing and the one on calls, each where the run has some."""
    if is_routed(document):
        yield Section("routing", say("Routing"), _routing(routings(document), say), folded=True)
    if has_calls(document):
        told = [
            *call_summaries(document, say),
            say(
                "Calls are right when tools, arguments and their values are as expected, in any order. An answer "
                "may have several faults."
            ),
        ]
        yield Section("calls", say("Tool calls"), [Sentences(told)], folded=True)


def _routing(found: Sequence[Routing], say: Words) -> list[Block]:
    confusions = [line for one in found for line in confusion_lines(one, say)]
    return [
        Sentences(list(summaries(found, say))),
        _rates(found, say),
        Sentences(
            [
                say(
                    "Precision: of the answers that name a tool, how many should. Recall: of the cases of a tool, how "
                    "many name it. F1 is their harmonic mean. '-': no answer names it."
                )
            ],
            listed=False,
        ),
        Sentences(confusions),
    ]


def _rates(found: Sequence[Routing], say: Words) -> Table:
    columns = [
        Column(say("Tool"), left=True),
        Column(say("N")),
        *(Column(say(title), one.variant) for one in found for title in RATES),
    ]
    rows: list[list[Cell]] = [
        [
            _tool(tool, say),
            Number(max(rate.support for rate in rates if rate)),
            *(cell for one in rates for cell in _cells(one)),
        ]
        for tool, rates in sorted_rates(found)
    ]
    return Table(columns, rows)


def _tool(tool: str, say: Words) -> Cell:
    return tool_name(tool, say) if tool in {NO_TOOL, UNKNOWN} else Name(tool)


def _cells(rate: ToolRates | None) -> list[Cell]:
    if rate is None:
        return [Number(None)] * len(RATES)
    return [Number(rate.precision), Number(rate.recall), Number(rate.f1)]
