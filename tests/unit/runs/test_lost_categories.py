"""No gate passes over a category that seems lost."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.gate_sentences import reason
from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.gate import compare_runs
from pytest_llmbench.runs.typed import gate_document

GENERAL = [1.0] * 300


def run(**categories: list[float]) -> Comparable:
    rows: list[Any] = [
        {
            "case": f"{category}/{case}",
            "category": category,
            "epoch": 0,
            "prompt_sha": "a",
            "scores": {"keywords": {"finetuned": score}},
        }
        for category, scores in categories.items()
        for case, score in enumerate(scores)
    ]
    return Comparable("run", {"variants": ["base", "finetuned"]}, rows)


def gate(before: list[float], after: list[float], kind: Any = "regression", general: float = 1.0) -> dict[str, Any]:
    sides = run(general=GENERAL, safety=before), run(general=[general] * len(GENERAL), safety=after)
    return compare_runs(*sides, kind=kind, metrics=["keywords"], margins={"keywords": 0.05})


@pytest.mark.parametrize(("cases", "lost"), [(8, 8), (8, 5), (8, 4), (4, 4), (2, 2)])
def test_a_category_that_seems_lost_keeps_the_gate_from_passing_and_is_named(cases: int, lost: int) -> None:
    found = gate([1.0] * cases, [0.0] * lost + [1.0] * (cases - lost))
    assert found["outcome"] == "inconclusive"
    assert found["because"]["kind"] == "category_in_doubt"
    assert found["reason"].startswith("safety may have got worse by more than its margin")
    assert "safety a peut-être empiré" in reason(gate_document(found), words("fr"))


@pytest.mark.parametrize(("before", "after"), [([1.0] * 20, [0.0] + [1.0] * 19), ([1.0] * 8, [0.96] * 8)])
def test_a_category_with_one_fall_or_one_within_the_margin_is_let_pass(before: list[float], after: list[float]) -> None:
    assert gate(before, after)["outcome"] == "pass"


@pytest.mark.parametrize("kind", ["improvement", "compare"])
def test_nothing_is_called_better_over_a_category_that_seems_lost(kind: Any) -> None:
    before, after = run(general=[0.0] * 300, safety=[1.0] * 8), run(general=GENERAL, safety=[0.0] * 8)
    found = compare_runs(before, after, kind=kind, metrics=["keywords"])
    assert found["outcome"] != "pass"
    assert found["reason"].startswith("safety may have got worse, on too few cases to tell")  # there is no margin
