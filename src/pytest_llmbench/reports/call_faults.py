"""The tool calls of a run's answers, what is expected of them, and what is wrong with them, in the reader's words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmbench.cases.tools import ANY_CALL, LEFT_OUT
from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.reports.announced import quoted
from pytest_llmbench.runs.typed import CallDocument, CompletionDocument, FaultDocument, Result, RunDocument

_FAULTS = {
    "wrong tool": N_("wrong tool"),
    "unknown tool": N_("unknown tool"),
    "no tool named": N_("no tool named"),
    "missing argument": N_("missing argument"),
    "unexpected argument": N_("unexpected argument"),
    "wrong type": N_("wrong type"),
    "wrong value": N_("wrong value"),
    "missing call": N_("missing call"),
    "extra call": N_("extra call"),
    "unreadable call": N_("unreadable call"),
    "tools left out": N_("tools left out"),
}

METRIC = "call_accuracy"
_TOOL_METRICS = (METRIC, "tool_accuracy")
_VALUE_CHARS = 60
_MOST_REASON_CHARS = 200
_MOST_VALUES = 4


def has_calls(document: RunDocument) -> bool:
    """Whether the run has answers whose calls were judged."""
    return document.statistics.is_scored(METRIC)


def expected_calls_text(row: Result, say: Words) -> list[str] | None:
    """The calls that are right, one text each: `refund(order="A" or "B")`. None for a case that does not say."""
    if row.calls is None:
        return None
    if row.calls == ANY_CALL or isinstance(row.calls, str):
        return [say("any call")]
    return [_made(call, say, allowed=True) for call in row.calls] or [say("no call")]


def calls_made(completion: CompletionDocument | None, say: Words) -> list[str] | None:
    """The calls of an answer, one text each. None where nobody looked for any."""
    if completion is None or completion.tool_calls is None:
        return None
    return [_made(call, say) for call in completion.tool_calls] or [say("no call")]


def faults(row: Result, variant: str, say: Words) -> list[str]:
    """What metrics found wrong with a variant's answer; of its calls and its tool, which say the same, the former."""
    told = row.reasons
    first = next((metric for metric in _TOOL_METRICS if told.get(metric, {}).get(variant)), None)
    shown = [metric for metric in told if metric not in _TOOL_METRICS or metric == first]
    return [fault_text(fault, say) for metric in shown for fault in told[metric].get(variant, ())]


def fault_text(fault: FaultDocument, say: Words) -> str:
    """`wrong value refund.order: "D", expected "A" or "B"`; a reason that this version does not know keeps its name."""
    text = fault_name(fault.reason, say)
    if place := ".".join(filter(None, (fault.tool, fault.argument))):
        text = say("{fault} {place}", fault=text, place=place)
    if fault.tells("found"):
        found = fault.found
        told = quoted(str(found), say) if fault.reason == LEFT_OUT else _value(found)
        text = say("{fault}: {found}", fault=text, found=told[:_MOST_REASON_CHARS])
    if fault.tells("expected"):
        text = say("{fault}, expected {expected}", fault=text, expected=_instead(fault, say))
    return text


def fault_name(reason: str, say: Words) -> str:
    """The reason in the reader's words."""
    return say(_FAULTS[reason]) if reason in _FAULTS else reason


def call_summaries(document: RunDocument, say: Words) -> Iterator[str]:
    """A sentence a variant: how many answers make the expected calls, and how often each fault was found."""
    if not has_calls(document):
        return
    for variant in document.variants:
        scores = [row.score(METRIC, variant) for row in document.results]
        judged = [score for score in scores if score is not None]
        if not judged:
            continue
        counted = _counted(document.results, variant)
        told = [say("{fault} {count}", fault=fault_name(reason, say), count=count) for reason, count in counted]
        numbers = {"variant": variant, "right": sum(score == 1 for score in judged), "total": len(judged)}
        yield (
            say(
                "{variant}: {right} of {total} answers make the expected calls. Faults: {faults}.",
                faults=", ".join(told),
                **numbers,
            )
            if told
            else say("{variant}: {right} of {total} answers make the expected calls.", **numbers)
        )


def tools_left_out(document: RunDocument, say: Words) -> Iterator[str]:
    """Which answers were given without the tools of their cases, and why: their calls are unscored, not wrong."""
    reasons_of = document.once("tools left out", lambda: _reasons_left_out(document))
    for variant, counts in document.statistics.answers.items():
        reasons = reasons_of.get(variant)
        if reasons:
            yield say(
                "The tools of {count} of {total} answers of {variant} did not reach the model, so that their "
                "calls are unscored: {reason}",
                variant=variant,
                count=len(reasons),
                total=counts.total,
                reason=quoted(reasons[0], say),
            )


def _reasons_left_out(document: RunDocument) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in document.results:
        for variant, answer in row.completions.items():
            if answer.tools_left_out:
                found.setdefault(variant, []).append(answer.tools_left_out)
    return found


def _counted(rows: Sequence[Result], variant: str) -> list[tuple[str, int]]:
    found = (fault.reason for row in rows for fault in row.faults(METRIC, variant))
    return Counter(reason for reason in found if reason != LEFT_OUT).most_common()


def _instead(fault: FaultDocument, say: Words) -> str:
    expected = fault.expected
    if fault.argument is not None:
        return _one_of(expected if isinstance(expected, list) else [expected], say)
    return str(expected)  # a tool's name


def _made(call: CallDocument, say: Words, *, allowed: bool = False) -> str:
    if isinstance(call.arguments, str):
        return say("{tool}(…), unreadable: {text}", tool=call.name, text=_value(call.arguments))
    told = [f"{key}={_one_of(value, say) if allowed else _value(value)}" for key, value in call.arguments.items()]
    return f"{call.name}({', '.join(told)})"


def _one_of(values: Sequence[Any], say: Words) -> str:
    """Allowed values; null among them says that the argument may be left out."""
    told = [say("nothing") if value is None else _value(value) for value in values[:_MOST_VALUES]]
    text = say(" or ").join(told)
    more = len(values) - len(told)
    return say("{text}, and {count} more", text=text, count=more) if more > 0 else text


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 1]}…"
