from __future__ import annotations

from pathlib import Path

import pytest
from support.rendered import summary_lines
from support.report_runs import full_run, relevance, run

from pytest_llmbench.core.records import Run
from pytest_llmbench.runs.document import build_document

PATHS = {"text": Path("reports/benchmark.txt"), "json": Path("reports/benchmark.json")}


def lines(some_run: Run, width: int = 80) -> list[str]:
    return summary_lines(build_document(some_run, answer_chars=50), PATHS, width)


def test_the_table_shows_base_and_adapter_by_category_and_overall() -> None:
    shown = lines(run(relevance("one/1", 0.25, 0.5), relevance("two/1", 0.0, 0.5)))
    assert shown[shown.index("base -> finetuned") + 1 :][:4] == [
        "Category  N            Rel.",
        "one       1  0.250 -> 0.500",
        "two       1  0.000 -> 0.500",
        "All       2  0.125 -> 0.500",
    ]


def test_effort_and_report_paths_follow() -> None:
    assert lines(full_run())[-4:] == [
        "60 answers in 26.0 s, 33.6 tokens/s, 0 from the cache",
        "",
        "text : reports/benchmark.txt",
        "json : reports/benchmark.json",
    ]


def test_unscored_results_are_named() -> None:
    assert "- Unscored, and left out of the means: Relevance of base 1/2." in lines(
        run(relevance("a/1", None, 0.5), relevance("a/2", 0.1, 0.5))
    )


@pytest.mark.parametrize("width", [30, 60, 80, 200])
@pytest.mark.parametrize("variants", [("base",), ("base", "finetuned"), ("base", "v1", "v2"), ("v1",)])
def test_no_line_is_wider_than_the_terminal(width: int, variants: tuple[str, ...]) -> None:
    shown = lines(full_run(("voice_commands", "a-category-with-a-long-name"), 2, variants), width)
    assert max(map(len, shown)) <= width
    assert sum(line.startswith(("All ", "Category: All")) for line in shown) == max(1, len(variants) - 1)
