from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from support.rendered import analysis
from support.report_runs import completion, result, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import CaseResult
from pytest_llmbench.reports.charts import routing
from pytest_llmbench.reports.html import render_html
from pytest_llmbench.reports.routing import NO_TOOL, UNKNOWN, routings
from pytest_llmbench.reports.routing_matrix import matrices
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.typed import run_document


def routed(number: int, expected: str, *named: str | None) -> CaseResult:
    """A case that expects a tool, and the tool that the base and the fine-tune name; None for no answer."""
    name, pair = f"a/{number}", dict(zip(("base", "finetuned"), named, strict=True))
    some = result(
        name, {"tool_accuracy": {v: None if one is None else float(one == expected) for v, one in pair.items()}}
    )
    fields = {key: getattr(some, key) for key in CaseResult.__slots__}
    answers = {v: completion(name, v, f"[{one}]" if one else "rien") for v, one in pair.items()}
    return CaseResult(**{**fields, "tool": expected, "completions": answers})


def document(*results: CaseResult, **metadata: Any) -> dict[str, Any]:
    return build_document(run(*results, **metadata), answer_chars=50)


TOOLS = ["play_music", "stop_music", "set_timer"]
FEW = (
    routed(1, "play_music", "play_music", "play_music"),
    routed(2, "play_music", "", "stop_music"),
    routed(3, "stop_music", "made_up_tool", "stop_music"),
    routed(4, "stop_music", "", None),
)


def test_tools_that_are_named_none_and_unknown_ones_have_columns() -> None:
    base, tuned = routings(run_document(document(*FEW)))
    assert base.labels == tuned.labels == ["play_music", "stop_music", NO_TOOL, UNKNOWN]
    assert base.counts == [[1, 0, 1, 0], [0, 0, 1, 1], [0] * 4, [0] * 4]
    assert tuned.counts == [[1, 1, 0, 0], [0, 1, 0, 0], [0] * 4, [0] * 4]
    assert (tuned.right, tuned.total, tuned.unscored) == (2, 3, 1)
    assert tuned.confusions() == [(("play_music", "stop_music"), 1)]


def test_a_tool_that_no_answer_names_has_no_precision() -> None:
    base, tuned = routings(run_document(document(*FEW)))
    assert [(rate.tool, rate.precision, rate.recall) for rate in base.rates] == [
        ("play_music", 1.0, 0.5),
        ("stop_music", None, 0.0),
    ]
    assert [(rate.precision, rate.recall, rate.support) for rate in tuned.rates] == [(1.0, 0.5, 2), (0.5, 1.0, 1)]


def test_a_tool_of_the_vocabulary_that_no_case_expects_has_a_column_of_its_own() -> None:
    some = document(
        routed(1, "play_music", "set_timer", "play_music"), vocabulary={"names": ["play_music", "set_timer"]}
    )
    assert routings(run_document(some))[0].labels == ["play_music", "set_timer"]


def test_of_many_tools_the_most_confused_are_named_and_nothing_is_lost() -> None:
    tools = [f"tool_{place:02}" for place in range(50)]
    right = [routed(place, tool, "", tool) for place, tool in enumerate(tools)]
    wrong = [routed(100 + place, "tool_40", "", "tool_41") for place in range(3)]
    found = routings(run_document(document(*right, *wrong)))
    folded = matrices(found, most=4)
    assert folded.left_out == 46
    assert {"tool_40", "tool_41"} <= set(folded.shown[1].columns)
    assert sum(cell.count for row in folded.shown[1].cells for cell in row) == found[1].total == 53
    assert sum(cell.right for row in folded.shown[1].cells for cell in row) == 50


@pytest.mark.parametrize(("language", "shown"), [("en", ("no tool", "Prec.")), ("fr", ("aucun outil", "Préc."))])
def test_text_and_page_show_it_in_the_readers_language(language: str, shown: tuple[str, ...]) -> None:
    some = document(*FEW)
    for report in (analysis(some, language), render_html(run_document(some), [], language)):
        assert all(words_ in report for words_ in shown)
        assert "routing_" not in report.partition("<style")[0]


def test_the_figure_is_drawn_for_a_few_tools_and_for_many(tmp_path: Path) -> None:
    many = [routed(place, f"a_tool_with_a_long_name_{place}", "", "") for place in range(40)]
    for place, cases in enumerate((FEW, many)):
        routing.save_routing(run_document(document(*cases)), tmp_path / f"{place}.png", words("fr"))
        assert (tmp_path / f"{place}.png").stat().st_size > 10_000


PAIRS = st.tuples(st.sampled_from(TOOLS), st.sampled_from([*TOOLS, NO_TOOL, "made_up_tool"]))


@given(st.lists(PAIRS, min_size=1, max_size=20))
def test_counts_and_rates_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    cases = [routed(number, expected, None, named) for number, (expected, named) in enumerate(pairs)]
    (found,) = routings(run_document(document(*cases, vocabulary={"names": TOOLS})))
    expected, named = zip(*((one, UNKNOWN if tool == "made_up_tool" else tool) for one, tool in pairs), strict=True)
    with warnings.catch_warnings(action="ignore"):  # it warns of a single label, though it is told which
        assert found.counts == metrics.confusion_matrix(expected, named, labels=found.labels).tolist()
        told = metrics.precision_recall_fscore_support(expected, named, labels=found.labels, zero_division=math.nan)
    rates = {tool: row for tool, *row in zip(found.labels, *(column.tolist() for column in told), strict=True)}
    assert [rate.tool for rate in found.rates] == [tool for tool, row in rates.items() if row[-1]]
    for rate in found.rates:
        precision = math.nan if rate.precision is None else rate.precision
        assert [precision, rate.recall, rate.f1, rate.support] == pytest.approx(rates[rate.tool], nan_ok=True)
