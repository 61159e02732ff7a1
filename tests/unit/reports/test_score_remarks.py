from __future__ import annotations

import base64
import dataclasses
import re
import struct
from typing import Any

import jsonschema
import pytest
from support.rendered import analysis
from support.report_runs import relevance, result, run

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import CaseResult
from pytest_llmbench.reports.cautions import cautions
from pytest_llmbench.reports.html.cases import case_data
from pytest_llmbench.reports.recommendations import recommendations
from pytest_llmbench.reports.score_remarks import cosine_meanings, cut_answers
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import run_schema
from pytest_llmbench.runs.typed import run_document


def embedded(name: str, base: tuple[float, float], tuned: tuple[float, float], cosine: float) -> CaseResult:
    """A case whose two answers lie in these directions."""
    some = result(
        name, {"cosine_similarity": {"finetuned": cosine}}, texts={"base": f"b {name}", "finetuned": f"f {name}"}
    )
    vectors = {"base": base, "finetuned": tuned}
    answers = {
        variant: dataclasses.replace(answer, embedding=base64.b64encode(struct.pack("<2f", *vectors[variant])).decode())
        for variant, answer in some.completions.items()
    }
    return dataclasses.replace(some, prompt=name, completions=answers)


def changed_answers(**changed: Any) -> dict[str, Any]:
    some = result("a/1", {"relevance": {"base": 0.1, "finetuned": 0.9}, "latency_s": {"base": 2.0, "finetuned": 1.0}})
    answers = {name: dataclasses.replace(answer, **changed) for name, answer in some.completions.items()}
    return build_document(run(dataclasses.replace(some, completions=answers)), answer_chars=50)


def test_similarity_counts_from_that_of_answers_to_different_cases() -> None:
    alike = [embedded(f"a/{place}", (1, 0.1 * place), (1, 0.1 * place + 0.05), 0.99) for place in range(4)]
    [sentence] = cosine_meanings(run_document(build_document(run(*alike), answer_chars=50)), words("en"))
    assert "to the base 0.990, of answers to different cases 0.9" in sentence
    assert "hardly nearer" in sentence or "visible adaptation" in sentence
    apart = [embedded(f"a/{place}", vector, vector, 0.99) for place, vector in enumerate([(1, 0), (0, 1), (-1, 0)])]
    [sentence] = cosine_meanings(run_document(build_document(run(*apart), answer_chars=50)), words("en"))
    assert "little has changed" in sentence


def test_a_run_that_did_not_measure_different_cases_has_no_sentence_on_similarity() -> None:
    some = build_document(run(result("a/1", {"cosine_similarity": {"finetuned": 0.886}})), answer_chars=50)
    assert list(cosine_meanings(run_document(some), words("en"))) == []


@pytest.mark.parametrize("finish", ["length", "timeout"])
def test_cut_answers_are_told_beside_the_scores(finish: str) -> None:
    some = changed_answers(finish=finish)
    told = list(cut_answers(run_document(some), words("en")))
    assert [sentence[:21] for sentence in told] == ["1 of 1 answers of bas", "1 of 1 answers of fin"]
    overall = analysis(some, "en").split("By category")[0]
    assert told[0] in " ".join(overall.split())
    for lost in ({"text": ""}, {"text": "", "reasoning": "hm"}):
        told = list(cut_answers(run_document(changed_answers(finish="timeout", **lost)), words("en")))
        assert told == []  # no score judges them


def test_answers_that_had_no_time_to_begin_are_told_as_lost() -> None:
    lost = run_document(changed_answers(finish="timeout", text=""))
    told = [line for line in cautions(lost, words("en")) if "ran out of time before they began" in line]
    assert [line.split(":")[0] for line in told] == [
        f"1 of 1 answers of {name} ran out of time before they began" for name in ("base", "finetuned")
    ]
    assert not any("barely differ" in line for line in recommendations(lost, words("en")))
    [row] = case_data(lost, words("en"))["rows"]
    assert [answer["answered"] for answer in row["answers"]] == [False, False]


def test_a_category_that_is_answered_in_full_is_nothing_to_work_on() -> None:
    full = run_document(build_document(run(relevance("a/1", 0.0, 1.0)), answer_chars=50))
    assert not any("Weakest category" in line for line in recommendations(full, words("en")))


def test_speed_of_answers_that_shared_a_batch_is_no_row_of_the_comparison() -> None:
    alone, shared = (analysis(changed_answers(batch_size=size), "en").split("By category")[0] for size in (1, 8))
    assert "Latency (s)" in alone
    assert "Latency (s)" not in shared
    assert "shared batches of up to 8" in " ".join(shared.split())


def test_answers_of_a_batch_have_no_latency_in_any_report_and_their_pass_is_told() -> None:
    shared = changed_answers(batch_size=8)
    shared["metadata"]["passes"] = {"base": {"answers": 1, "tokens": 90, "seconds": 4.5}}
    jsonschema.validate(shared, run_schema())
    text, page = analysis(shared, "en"), case_data(run_document(shared), words("en"))
    assert "Median (s)" not in text
    assert re.search(r"│ base +│ +1 │ +0 │ +4\.500 │ +20\.000 │ +8 │", text)
    assert re.search(r"│ finetuned +│ +1 │ +0 │ +- │ +- │ +8 │", text)  # an older run tells the batches alone
    assert page["timed"] is False
    assert [answer["latency_s"] for answer in page["rows"][0]["answers"]] == [None, None]


def test_a_pass_that_variants_shared_is_told_once_and_no_variant_has_its_own() -> None:
    shared = changed_answers(batch_size=8)
    shared["metadata"]["shared_pass"] = {"answers": 2, "tokens": 90, "seconds": 4.5}
    jsonschema.validate(shared, run_schema())
    text = analysis(shared, "en")
    assert len(re.findall(r"│ (?:base|finetuned) +│ +1 │ +0 │ +- │ +- │ +8 │", text)) == 2
    told = " ".join(text.split())
    assert "no pass is one variant's alone: 90 tokens of all of them took 4.5 s, 20.0 a second" in told


def test_answers_that_were_asked_alone_have_their_latency() -> None:
    alone = changed_answers(latency_s=2.5)
    text, page = analysis(alone, "en"), case_data(run_document(alone), words("en"))
    assert re.search(r"│ base +│ +1 │ +0 │ +2\.500 │ +2\.500 │ +2\.500 │ +4\.800 │", text)
    assert "Pass (s)" not in text
    assert page["timed"] is True
