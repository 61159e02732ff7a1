"""Routing and tool calls in Markdown: a sentence a variant, the weakest tools, what was named instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.call_faults import call_summaries, has_calls
from pytest_llmbench.reports.markdown_text import code, details, left_out, prose, table
from pytest_llmbench.reports.routing import NO_TOOL, UNKNOWN, Routing, is_routed, routings, unavailable
from pytest_llmbench.reports.routing_text import confusion_lines, header_of, rate_rows, summaries, tool_name

_MOST_VARIANTS = 4
_MOST_TOOLS = 12
_MOST_CONFUSIONS = 5


def routing_parts(document: Mapping[str, Any], say: Words) -> Iterator[str]:
    """The part on calls and the one on routing, folded, each where the run has some."""
    if has_calls(document):
        yield details(say("calls_title"), _listed([*call_summaries(document, say), say("calls_note")]))
    if not is_routed(document):
        return
    missing = unavailable(document)
    yield details(say("routing"), prose(missing) if missing else _routing(routings(document), say))


def _routing(found: Sequence[Routing], say: Words) -> str:
    shown = [*found[: _MOST_VARIANTS - 1], *found[_MOST_VARIANTS - 1 :][-1:]]
    confusions = [line for one in shown for line in confusion_lines(one, say, _MOST_CONFUSIONS)]
    parts = [_listed(summaries(found, say)), _rates(shown, say), prose(say("routing_note")), _listed(confusions)]
    return "\n\n".join(parts)


def _rates(shown: Sequence[Routing], say: Words) -> str:
    rows = rate_rows(shown, say)
    special = {tool_name(label, say) for label in (NO_TOOL, UNKNOWN)}
    cells = [[prose(row[0]) if row[0] in special else code(row[0]), *row[1:]] for row in rows[:_MOST_TOOLS]]
    first, second, *rest = header_of(shown, say)
    owners = [one.variant for one in shown for _ in range(len(rest) // len(shown))]
    titles = [f"{title} {code(owner)}" for title, owner in zip(rest, owners, strict=True)]
    return table([first, second, *titles], cells, names=1) + left_out(len(rows) - _MOST_TOOLS, say)


def _listed(lines: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(f"{'  ' if line.startswith(' ') else ''}- {prose(line.strip())}" for line in lines)
