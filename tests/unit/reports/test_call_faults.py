from __future__ import annotations

from typing import Any

import pytest
from support.rendered import analysis, markdown
from support.report_runs import run
from support.tool_runs import called, shop_run

from pytest_llmbench.core.locale import words
from pytest_llmbench.metrics.call_faults import CallFault
from pytest_llmbench.reports.call_faults import call_summaries, fault_text, faults
from pytest_llmbench.reports.html import render_html
from pytest_llmbench.reports.html.cases import case_data
from pytest_llmbench.reports.routing import NO_TOOL, routings
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.typed import FaultDocument, Result, run_document


def document(**metadata: Any) -> dict[str, Any]:
    return build_document(shop_run(**metadata), answer_chars=500)


@pytest.mark.parametrize(
    ("fault", "english", "french"),
    [
        (
            CallFault("wrong value", "refund", "order", ["A", "B"], "C").to_json(),
            'wrong value refund.order: "C", expected "A" or "B"',
            'mauvaise valeur refund.order : "C", attendu "A" ou "B"',
        ),
        (
            CallFault("wrong tool", "refund", expected="track").to_json(),
            "wrong tool refund, expected track",
            "mauvais outil refund, attendu track",
        ),
        (CallFault("missing call", "").to_json(), "missing call", "appel manquant"),
        ({"reason": "too polite", "found": 3}, "too polite: 3", "too polite : 3"),
    ],
)
def test_a_fault_is_told_in_the_readers_words(fault: dict[str, Any], english: str, french: str) -> None:
    assert fault_text(FaultDocument.model_validate(fault), words("en")) == english
    assert fault_text(FaultDocument.model_validate(fault), words("fr")) == french


def test_faults_are_counted_and_lost_tools_are_no_faults() -> None:
    base, tuned = call_summaries(run_document(document()), words("en"))
    assert base.startswith("base: 1 of 5 answers make the expected calls. Faults: ")
    for told in ("wrong tool 1", "missing call 1", "missing argument 1", "unexpected argument 1", "extra call 1"):
        assert told in base
    assert tuned == "finetuned: 5 of 6 answers make the expected calls. Faults: wrong value 1."


def test_calls_stand_beside_the_answers_in_every_format() -> None:
    some = document()
    rows = {row["id"]: row for row in case_data(run_document(some), words("en"))["rows"]}
    assert rows["value"]["calls"] == ['refund(order="A" or "B")']
    assert rows["hello"]["calls"] == ["no call"]
    base, tuned = rows["value"]["answers"]
    assert (base["calls"], base["faults"]) == (['track_order(order="A")'], ["wrong tool track_order, expected refund"])
    assert tuned["faults"] == ['wrong value refund.order: "C", expected "A" or "B"']
    text = analysis(some, "en")
    assert 'expected calls      : refund(order="A" or "B")' in text
    assert 'calls of finetuned  : refund(order="C")' in text
    assert "Call accuracy" in text
    left_out = (
        "The tools of 1 of 6 answers of base did not reach the model, so that their calls are unscored: "
        "the chat template writes no tools: the prompt is the same with and without them"
    )
    for shown in (" ".join(text.split()), markdown(some, "en"), render_html(run_document(some), [], "en")):
        assert left_out in shown


def test_a_tools_reason_is_not_told_twice() -> None:
    wrong = CallFault("wrong tool", "track_order", expected="refund").to_json()
    told = {"tool_accuracy": {"base": [wrong]}, "call_accuracy": {"base": [wrong]}, "mine": {"base": [wrong]}}
    row = run_document(document()).results[0].model_dump() | {"reasons": told}
    assert len(faults(Result.model_validate(row), "base", words("en"))) == 2


def test_cases_with_calls_alone_are_routed_and_so_are_those_where_no_tool_is_right() -> None:
    base, tuned = routings(run_document(document()))
    assert tuned.right == tuned.total == 6
    assert base.labels == ["refund", "track_order", "make_coffee", NO_TOOL]
    assert base.counts[0] == [2, 1, 0, 1]
    assert base.counts[3] == [0, 0, 1, 0]
    assert base.unscored == 1


def test_a_case_that_wants_several_calls_has_no_one_tool() -> None:
    two = [{"name": "refund", "arguments": {"order": "A"}}, {"name": "track_order", "arguments": {"order": "A"}}]
    some = build_document(run(called("a/two", two, {"base": []}), variants=("base",)), answer_chars=50)
    assert routings(run_document(some)) == []


def test_markdown_has_routing_in_short() -> None:
    shown = markdown(document(), "fr")
    assert "<summary>Choix des outils</summary>" in shown
    assert "| <code>refund</code> | 5 |" in shown
    assert "<summary>Appels d'outils</summary>" in shown
