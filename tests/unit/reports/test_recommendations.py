"""Advice, tables and figures say of lost answers what the verdict above them says."""

from __future__ import annotations

import dataclasses
from typing import Any

from support.rendered import analysis, markdown, summary_lines
from support.report_runs import built, completion, relevance, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import CaseResult, Run
from pytest_llmbench.reports.charts.benchmark_summary import summary_text
from pytest_llmbench.reports.recommendations import recommendations
from pytest_llmbench.runs.base_comparison import with_comparison
from pytest_llmbench.runs.typed import run_document


def endless(name: str, base: float) -> CaseResult:
    """A case that the base answered, and about which the fine-tune thought until its tokens were spent."""
    row = relevance(name, base, None)
    thinking = completion(row.case, "finetuned", "", finish="length", reasoning="hm")
    return dataclasses.replace(row, completions={**row.completions, "finetuned": thinking})


def all_lost() -> dict[str, Any]:
    return dict(with_comparison(built(run(*(endless(f"a/{place}", 0.8) for place in range(12))))))


def hard_half_run(**metadata: Any) -> Run:
    easy = (relevance(f"b/{place}", 0.5, 0.7) for place in range(12))
    return run(*(endless(f"a/{place}", 0.9) for place in range(12)), *easy, **metadata)


def hard_half_lost() -> dict[str, Any]:
    """Better in what was answered, and worse in all."""
    return dict(with_comparison(built(hard_half_run())))


def advice(document: dict[str, Any]) -> str:
    return "\n".join(recommendations(run_document(document), words("en")))


def test_a_fine_tune_that_lost_every_answer_has_the_verdicts_numbers_everywhere() -> None:
    document = all_lost()
    assert document["comparison"]["verdicts"][0]["outcome"] == "fail"
    line = "finetuned: Relevance 0.800 -> 0.000, -100.0% relative (cases: 12, lost answers as the worst score)."
    assert line in advice(document)
    assert "0.800 -> 0.000" in summary_text(run_document(document), words("en"))
    assert "No verdict" not in analysis(document, "en")


def test_advice_counts_lost_answers_and_the_categories_where_they_were_lost() -> None:
    told = advice(hard_half_lost())
    assert "finetuned: Relevance 0.700 -> 0.350" in told
    assert "12 improved, 0 unchanged, 0 worse, 12 lost" in told
    assert "Weakest category of finetuned: a (Relevance 0.000)" in told
    assert "finetuned is worse than the base in: a (-0.900)." in told


def test_a_category_whose_mean_rounds_otherwise_is_not_worse() -> None:
    rows = (relevance(f"a/{place}", *scores) for place, scores in enumerate([(0.2, 0.6), (0.4, 0.4), (0.6, 0.2)]))
    assert "worse than the base in" not in advice(dict(with_comparison(built(run(*rows)))))


def test_tables_show_the_verdicts_change_where_answers_were_lost() -> None:
    document = hard_half_lost()
    pages = {
        "text": analysis(document, "en"),
        "Markdown": markdown(document, "en"),
        "terminal": "\n".join(summary_lines(document, {}, 110)),
    }
    for name in ("text", "Markdown"):
        [row] = [line for line in pages[name].splitlines() if "24/24, 12/24" in line]
        assert ("-0.350" in row, "-50.0%" in row) == (True, True), name
        assert "Differences are paired" not in pages[name]
    for name, page in pages.items():
        assert [line for line in page.splitlines() if "All" in line and "0.700 -> 0.350" in line], name
        assert "an answer that one side lost counts" in " ".join(page.split()), name
    assert any("0.900 -> 0.000" in line and "-100.0%" in line for line in pages["text"].splitlines())


def test_the_only_category_has_the_verdict_on_the_whole() -> None:
    """A gate asks no question of it, and its pairs alone would show no change but that of what was answered."""
    rows = [endless(f"a/{place}", 0.5) for place in range(6)]
    document = with_comparison(built(run(*rows, *(relevance(f"a/{place}", 0.5, 0.75) for place in range(6, 24)))))
    [row] = [line for line in analysis(document, "en").splitlines() if line.startswith("│ a ")]
    assert "0.500 -> 0.562" in row
    assert "+12.5%" in row


def test_answers_that_the_gate_leaves_out_leave_differences_paired() -> None:
    document = dict(with_comparison(built(hard_half_run(settings={"gate": {"unscored": "drop"}}))))
    assert "Differences are paired" in analysis(document, "en")
    assert "finetuned: Relevance 0.500 -> 0.700, +40.0% relative (paired results: 12)." in advice(document)
