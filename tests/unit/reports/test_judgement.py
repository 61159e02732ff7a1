"""What a report says of each of several fine-tunes: nothing that the gate of it alone would not say."""

from __future__ import annotations

from typing import Any

import pytest
from support.gates import gate, judged, verdict

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.judgement import is_proved, outcome_of, verdict_sentences
from pytest_llmbench.runs.typed import gate_document, run_document

OTHER = verdict("pass", variant="other")


def beside(*verdicts: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A gate that holds `finetuned` and `other` against the base."""
    known = {"kind": "improvement", "against": "base", "baseline": None, "outcome": "inconclusive"}
    return gate(*verdicts, OTHER, **known | changed)


def remembered(**data: Any) -> dict[str, Any]:
    return {"kind": "cached_alone", "message": "x", "cases": [], "data": data}


DOUBT = verdict("inconclusive", category="safety", in_doubt=True)


@pytest.mark.parametrize("kind", ["improvement", "compare"])
def test_no_fine_tune_is_called_better_over_a_category_in_doubt(kind: str) -> None:
    some = beside(verdict("pass"), DOUBT, kind=kind)
    found = gate_document(some)
    assert [outcome_of(found, name) for name in ("finetuned", "other")] == ["inconclusive", "pass"]
    document = run_document(judged(some))
    assert not is_proved(document, "finetuned", "relevance")
    first, *_, last = verdict_sentences(document, words("en"))
    assert first.startswith("NO CHANGE SHOWN: Relevance of finetuned in safety")
    assert last.startswith("BETTER: Relevance of other")


def test_no_fine_tune_is_called_better_on_remembered_answers() -> None:
    found = gate_document(beside(verdict("pass"), notes=[remembered(variant="finetuned")]))
    assert [outcome_of(found, name) for name in ("finetuned", "other")] == ["inconclusive", "pass"]
    older = gate_document(beside(verdict("pass"), notes=[remembered()]))
    assert [outcome_of(older, name) for name in ("finetuned", "other")] == ["inconclusive", "inconclusive"]


def test_a_fine_tune_that_passed_is_better_though_another_could_not_be_judged() -> None:
    found = gate_document(gate(verdict("pass"), kind="improvement", against="base", outcome="inconclusive"))
    assert outcome_of(found, "finetuned") == "pass"
