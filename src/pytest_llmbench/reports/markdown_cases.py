"""Single cases in Markdown: the scores on both sides, the prompt, and the answers cut short."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.call_faults import calls_made, expected_calls, faults
from pytest_llmbench.reports.markdown_text import code, prose
from pytest_llmbench.runs.averages import Row

_ANSWER_CELLS = 160


def case_block(name: str, scores: tuple[float, float], row: Row | None, variants: Sequence[str], say: Words) -> str:
    """A list item for a case with its scores before and after, and what `variants` answered in `row`.

    `row` is None for a case that this run does not hold.
    """
    before, after = scores
    change = f"{say.number(before)} → {say.number(after)} ({say.number(after - before, signed=True)})"
    lines = [f"- {code(name)} {change}"]
    if row is not None:
        said = _said(row, variants, say)
        lines += [f"  - {say('gate_labelled', label=prose(label), text=text)}" for label, text in said]
    return "\n".join(lines)


def _said(row: Row, variants: Sequence[str], say: Words) -> Iterator[tuple[str, str]]:
    yield say("prompt"), code(row["prompt"], _ANSWER_CELLS)
    expected = expected_calls(row, say)
    if expected is not None:
        yield say("calls_expected"), code("; ".join(expected), _ANSWER_CELLS)
    for variant in variants:
        completion = row["completions"].get(variant)
        yield say("markdown_answer", variant=variant), _answer(completion, say)
        made, wrong = calls_made(completion, say), faults(row, variant, say)
        if made is not None:
            yield say("calls_made", variant=variant), code("; ".join(made), _ANSWER_CELLS)
        if wrong:
            yield say("calls_wrong", variant=variant), prose("; ".join(wrong))


def telling_rows(document: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, Row]:
    """Each case's result that a verdict's variant did worst in by its metric, the first of equals."""
    sign = 1 if verdict["higher_is_better"] else -1

    def score(row: Row) -> float:
        value = row["scores"].get(verdict["metric"], {}).get(verdict["variant"])
        return -math.inf if value is None else sign * value

    found: dict[str, Row] = {}
    for row in document["results"]:
        known = found.setdefault(row["case"], row)
        if score(row) < score(known):
            found[row["case"]] = row
    return found


def _answer(completion: Mapping[str, Any] | None, say: Words) -> str:
    if completion is None:
        return say("markdown_no_answer")
    return code(completion["error"] or completion["text"], _ANSWER_CELLS)
