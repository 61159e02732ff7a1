"""Documents are read into typed models and written back as they were, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.gates import gate, note, verdict
from support.report_runs import built, full_run
from support.serving_documents import several_document
from support.trainings import RECORD

from pytest_llmbench.autotune.document import typed_limits
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import as_json
from pytest_llmbench.runs.training_record import TrainingRecord
from pytest_llmbench.runs.typed import AnsweringBackend, gate_document, run_document

EXAMPLE = Path(__file__).parents[3] / "reports/example"


def in_one_order(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def test_the_limits_of_a_real_session_are_written_as_they_were_read() -> None:
    text = (EXAMPLE / "autotune.json").read_text(encoding="utf-8")
    assert as_json(typed_limits(json.loads(text)).json_ready()) == text


def test_limits_of_many_kinds_lose_nothing() -> None:
    document = several_document()
    assert in_one_order(typed_limits(document).json_ready()) == in_one_order(document)


def test_a_gate_and_its_notes_lose_nothing() -> None:
    whole = gate(
        verdict(), verdict("inconclusive", needed_cases_range=[120, None], units=10, changed=0), notes=[note()]
    )
    whole["baseline"] = {key: value for key, value in whole["baseline"].items() if key != "path"}
    assert in_one_order(gate_document(whole).json_ready()) == in_one_order(whole)


def test_the_answers_of_a_real_run_lose_nothing() -> None:
    document = json.loads((EXAMPLE / "benchmark.json").read_text(encoding="utf-8"))
    typed = run_document(document)
    for row, read in zip(document["results"], typed.results, strict=True):
        assert read.json_ready()["completions"] == row["completions"]
        assert read.json_ready().items() <= row.items()
    assert typed.metadata.recorded == document["metadata"]


def test_a_record_of_a_training_says_nothing_that_it_did_not() -> None:
    assert TrainingRecord.model_validate(RECORD).json_ready() == RECORD


def test_what_a_plugin_says_of_its_backend_otherwise_is_left_out() -> None:
    found = AnsweringBackend.model_validate({"backend": 3, "training_rows": None, "requests": [], "engine": "mine"})
    assert (found.backend, found.training_rows, found.requests, found.engine) == ("", {}, {}, "mine")


def test_text_that_utf_8_cannot_hold_is_read_all_the_same() -> None:
    document = built(full_run(cases=1))
    document["results"][0]["prompt"] = "half \ud83d"
    assert run_document(document).results[0].prompt.startswith("half")


@pytest.mark.parametrize("missing", ["comparison", "calls", "reasons"])
def test_keys_that_older_runs_lack_have_a_default(missing: str) -> None:
    document = build_document(full_run(cases=1), answer_chars=50)
    for part in (document, *document["results"]):
        part.pop(missing, None)
    assert len(run_document(document).results) == 3
