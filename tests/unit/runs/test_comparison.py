from __future__ import annotations

from typing import Any

import pytest
from support.report_runs import full_run, relevance, result, run

from pytest_llmbench.core.records import CaseResult, Scores
from pytest_llmbench.runs.comparison import (
    Comparison,
    Grade,
    compare_variants,
    leading_metric,
    relative,
    weakest_category,
)
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.typed import run_document


def document(*results: CaseResult) -> dict[str, Any]:
    return build_document(run(*results), answer_chars=50)


def comparison(*results: CaseResult) -> Comparison:
    found = compare_variants(run_document(document(*results)), "finetuned")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("base", "tuned", "grade"),
    [
        (0.60, 0.67, Grade.EFFECTIVE),
        (0.60, 0.66, Grade.MODERATE),  # exactly 10 %, though the floats say a hair more
        (0.40, 0.42, Grade.MODERATE),  # exactly 5 %
        (0.40, 0.419, Grade.INSUFFICIENT),
        (0.40, 0.10, Grade.INSUFFICIENT),
        (0.0, 0.11, Grade.EFFECTIVE),  # nothing to be relative to: points
        (0.0, 0.05, Grade.MODERATE),
        (0.0, 0.0, Grade.INSUFFICIENT),
    ],
)
def test_the_grade_follows_the_references_thresholds(base: float, tuned: float, grade: Grade) -> None:
    assert comparison(relevance("a/1", base, tuned)).grade is grade


def test_only_results_scored_for_both_are_compared() -> None:
    found = comparison(relevance("a/1", None, 1.0), relevance("a/2", 0.5, None), relevance("a/3", 0.5, 0.5))
    assert (found.base_mean, found.tuned_mean, found.gain) == (0.5, 0.5, 0.0)


def test_no_pair_gives_no_grade() -> None:
    assert comparison(relevance("a/1", None, 1.0)).grade is None
    assert compare_variants(run_document(document(result("a/1", {}))), "finetuned") is None


def test_without_relevance_the_next_metric_judges() -> None:
    scores: Scores = {"relevance": {"base": None, "finetuned": None}, "tool_accuracy": {"base": 0.0, "finetuned": 1.0}}
    assert leading_metric(run_document(document(result("a/1", scores))), "finetuned") == "tool_accuracy"


def test_gains_are_ranked_by_their_size_and_losses_counted() -> None:
    found = comparison(
        relevance("a/up", 0.1, 0.5),
        relevance("a/upper", 0.0, 0.9),
        relevance("a/still-low", 0.1, 0.1),
        relevance("a/still-high", 0.8, 0.8),
        relevance("a/down", 0.9, 0.6),
    )
    assert [change.row.prompt_id for change in found.improvements(5)] == ["upper", "up"]
    assert found.tally() == (2, 2, 1)


def test_the_weakest_category_has_the_lowest_mean_of_the_adapter() -> None:
    some = document(relevance("strong/1", 0.1, 0.9), relevance("weak/1", 0.1, 0.2), relevance("unscored/1", 0.0, None))
    assert weakest_category(run_document(some), "finetuned") == ("weak", 0.2)


def test_relative_change_needs_both_and_a_base_above_zero() -> None:
    assert relative(0.5, 0.75) == 0.5
    assert relative(0.0, 0.75) is relative(None, 0.75) is relative(0.5, None) is None


def test_each_adapter_is_compared_with_the_base() -> None:
    several = build_document(full_run(variants=("base", "v1", "v2")), answer_chars=50)
    first, second = compare_variants(run_document(several), "v1"), compare_variants(run_document(several), "v2")
    assert first is not None
    assert second is not None
    assert first.base_mean == second.base_mean
    assert first.tuned_mean != second.tuned_mean
