from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.report_runs import relevance, result, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import CaseResult, Completion
from pytest_llmbench.reports.blocks import Sentences
from pytest_llmbench.reports.views.cases import rankings
from pytest_llmbench.reports.weaknesses import weaknesses
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.typed import run_document

SHARES = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def scored(name: str, **metrics: float | None) -> CaseResult:
    return result(name, {metric: {"base": 0.0, "finetuned": value} for metric, value in metrics.items()})


def document(*results: CaseResult) -> dict[str, Any]:
    return build_document(run(*results), answer_chars=50)


def names(*results: CaseResult) -> list[str]:
    weakest, total = weaknesses(run_document(document(*results)), "finetuned", len(results))
    assert total == len(weakest)
    return [weak.row.prompt_id for weak in weakest]


def test_a_wrong_tool_comes_before_a_low_score_and_what_is_right_is_not_there() -> None:
    assert names(
        scored("a/right", relevance=1.0, tool_accuracy=1.0),
        scored("a/low", relevance=0.4, tool_accuracy=1.0),
        scored("a/wrong-but-relevant", relevance=1.0, tool_accuracy=0.0),
        scored("a/wrong", relevance=0.0, tool_accuracy=0.0),
        scored("a/unjudged", relevance=None),
    ) == ["wrong", "wrong-but-relevant", "low"]


def test_a_case_that_improved_and_is_still_wrong_is_there() -> None:
    assert names(relevance("a/1", 0.0, 0.6), relevance("a/2", 1.0, 1.0), relevance("a/3", None, 0.0)) == ["3", "1"]


def test_no_answer_comes_first_and_a_case_is_named_once() -> None:
    failed = Completion(case="a/none", epoch=0, variant="finetuned", text="", finish="error", error="closed")
    some = result("a/none", {}, texts={"base": "x"})
    without = CaseResult(**{**_fields(some), "completions": {**some.completions, "finetuned": failed}})
    twice = [
        result("a/0", {"relevance": {"base": 0.0, "finetuned": value}}, epoch=n) for n, value in ((0, 0.5), (1, 0))
    ]
    assert names(*twice, without) == ["none", "0"]
    thought = Completion(case="a/thought", epoch=0, variant="finetuned", text="", finish="length", reasoning="hm")
    unscored = result("a/thought", {"relevance": {"base": 0.0, "finetuned": None}}, texts={"base": "x"})
    fields = {**_fields(unscored), "completions": {**unscored.completions, "finetuned": thought}}
    assert names(*twice, CaseResult(**fields)) == ["thought", "0"]


def _fields(one: CaseResult) -> dict[str, Any]:
    return {name: getattr(one, name) for name in CaseResult.__slots__}


@given(st.lists(st.tuples(SHARES, SHARES, SHARES), min_size=1, max_size=20))
def test_every_case_with_a_score_below_full_is_there_lowest_first(scores: list[tuple[float | None, ...]]) -> None:
    metrics = ("relevance", "keywords", "tool_accuracy")
    cases = [scored(f"a/{place}", **dict(zip(metrics, one, strict=True))) for place, one in enumerate(scores)]
    lowest = [min((value for value in one if value is not None), default=1.0) for one in scores]
    found = [lowest[int(name)] for name in names(*cases)]
    assert found == sorted(value for value in lowest if value < 1)


def test_the_section_says_that_there_is_none() -> None:
    [_, section] = rankings(run_document(document(relevance("a/1", 0.0, 1.0))), "finetuned", words("en"))
    assert section.blocks == [Sentences(["None: every case is answered in full."], listed=False)]
