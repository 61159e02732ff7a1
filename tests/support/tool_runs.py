"""Runs whose cases have tools: calls made and expected, and what is wrong with them, as the metric tells it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import as_openai, expected_calls
from pytest_llmbench.core.records import CaseResult, Run
from pytest_llmbench.metrics.calls import call_accuracy, call_reasons
from pytest_llmbench.metrics.text import Spelling
from support.report_runs import completion, run

TOOLS = tuple(
    as_openai({"name": name, "parameters": {"properties": {"order": {"type": "string"}}, "required": ["order"]}})
    for name in ("refund", "track_order")
)
_NO_TOOLS = (
    "the chat template writes no tools: the prompt is the same with and without them; take a base or an adapter whose "
    "template knows tools"
)
Call = tuple[str, Any]
"""A tool's name and the arguments of its call."""


def called(name: str, expected: Any, answers: Mapping[str, Sequence[Call] | None], **changed: Any) -> CaseResult:
    """A case that expects these calls, judged as a session does; None is an answer whose tools were left out."""
    calls = expected_calls(expected, TOOLS)
    category, _, prompt_id = name.partition("/")
    case = Case(category, prompt_id, f"prompt of {name}", messages=(), tools=TOOLS, calls=calls)
    given = {variant: _answer(name, variant, made) for variant, made in answers.items()}
    spelling = Spelling()
    accuracy, reasons = call_accuracy(spelling), call_reasons(spelling)
    scores = {variant: accuracy(case, answer) for variant, answer in given.items()}
    told = {variant: found for variant, answer in given.items() if (found := reasons(case, answer))}
    known = CaseResult(
        category=case.category,
        prompt_id=case.id,
        epoch=0,
        prompt=case.prompt,
        keywords=(),
        tool=None,
        reference=None,
        completions=given,
        scores={
            "call_accuracy": {variant: None if value is None else float(value) for variant, value in scores.items()}
        },
        calls=calls.to_json() if calls else None,
        reasons={"call_accuracy": told} if told else {},
        timestamp="2026-02-18T10:00:02+00:00",
    )
    return dataclasses.replace(known, **changed)


def _answer(name: str, variant: str, made: Sequence[Call] | None) -> Any:
    if made is None:
        return completion(name, variant, "I cannot.", tools_left_out=_NO_TOOLS)
    calls = tuple({"name": tool, "arguments": arguments} for tool, arguments in made)
    return completion(name, variant, f"Answer of {variant}.", tool_calls=calls)


def shop_run(**metadata: Any) -> Run:
    """Six cases: the fine-tune calls right but for one value, the base makes most mistakes there are."""
    refund = [{"name": "refund", "arguments": {"order": ["A", "B"]}}]
    right: Sequence[Call] = [("refund", {"order": "A"})]
    return run(
        called("shop/right", refund, {"base": right, "finetuned": right}),
        called(
            "shop/value", refund, {"base": [("track_order", {"order": "A"})], "finetuned": [("refund", {"order": "C"})]}
        ),
        called("shop/missing", refund, {"base": [], "finetuned": right}),
        called("shop/argument", refund, {"base": [("refund", {"why": 1})], "finetuned": right}),
        called("shop/hello", [], {"base": [("make_coffee", {})], "finetuned": []}),
        called("shop/lost", refund, {"base": None, "finetuned": right}),
        **metadata,
    )
