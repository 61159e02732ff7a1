from __future__ import annotations

import dataclasses
import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_runs import completion, full_run, relevance, result, run

from pytest_llmbench.core.records import CaseResult, Completion, Run
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import as_json, run_schema

REFERENCE_FIELDS = [
    "prompt_id",
    "category",
    "prompt",
    "keywords_expected",
    "base_model_response",
    "finetuned_response",
    "cosine_similarity_score",
    "keyword_match_base",
    "keyword_match_finetuned",
    "jarvis_relevance_base",
    "jarvis_relevance_finetuned",
    "timestamp",
]

any_text = st.text(st.characters(exclude_categories=[]), max_size=12)
scores = st.one_of(st.none(), st.floats(-1e6, 1e6))
variants = st.sampled_from([("base",), ("base", "finetuned"), ("base", "v1", "v2"), ("finetuned",)])


@st.composite
def runs(draw: st.DrawFn) -> Run:
    names = draw(variants)
    metrics = draw(st.lists(st.sampled_from(["relevance", "cosine_similarity", "latency_s", "own"]), unique=True))
    results = [_result(draw, place, names, metrics) for place in range(draw(st.integers(0, 6)))]
    metadata = {"timestamp": "", "note": draw(any_text), "ratio": draw(st.floats()), "list": draw(st.lists(any_text))}
    return Run(metadata=metadata, variants=names, results=tuple(results))


def _result(draw: st.DrawFn, place: int, names: tuple[str, ...], metrics: list[str]) -> CaseResult:
    category = draw(st.sampled_from(["voix", "outils", "日本語"]))
    plain = result(
        f"{category}/{place}",
        {metric: {name: draw(scores) for name in names} for metric in metrics},
        texts={name: draw(any_text) for name in names if draw(st.booleans())},
    )
    return dataclasses.replace(plain, prompt=draw(any_text), tool=draw(st.none() | any_text))


def check(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(run_schema()).validate(document)


@given(runs())
def test_any_run_becomes_a_valid_document_that_survives_the_disk(some_run: Run) -> None:
    document = build_document(some_run, answer_chars=8)
    check(document)
    assert json.loads(as_json(document).encode()) == document


@given(runs())
def test_means_are_numpys_over_the_scored_results(some_run: Run) -> None:
    document = build_document(some_run, answer_chars=8)
    blocks = {None: document["statistics"]} | document["by_category"]
    for category, block in blocks.items():
        rows = [row for row in some_run.results if category in (None, row.category)]
        for metric, by_variant in block["metrics"].items():
            for variant, item in by_variant.items():
                known = [value for row in rows if (value := row.score(metric, variant)) is not None]
                assert (item["scored"], item["unscored"]) == (len(known), len(rows) - len(known))
                assert item["mean"] == (pytest.approx(np.mean(known), abs=1e-6) if known else None)


def test_a_result_starts_with_the_reference_fields_and_counts_keywords() -> None:
    case = result(
        "voice/son",
        {
            "keywords": {"base": 0.0, "finetuned": 0.5},
            "relevance": {"base": 0.2, "finetuned": 0.9},
            "cosine_similarity": {"finetuned": 0.7},
        },
    )
    document = build_document(run(case), answer_chars=500)
    row = document["results"][0]
    assert list(row)[:12] == REFERENCE_FIELDS
    assert (row["keyword_match_base"], row["keyword_match_finetuned"]) == (0, 1)
    assert (row["relevance_base"], row["relevance_finetuned"]) == (0.2, 0.9)
    assert (row["jarvis_relevance_base"], row["jarvis_relevance_finetuned"]) == (0.2, 0.9)
    assert row["cosine_similarity_score"] == 0.7
    assert row["finetuned_response"].startswith("volume_up")
    totals = document["statistics"]
    assert totals["total_tests"] == 1
    assert totals["avg_keyword_match_finetuned"] == 1
    assert totals["avg_relevance_base"] == 0.2
    assert totals["avg_cosine_similarity"] == 0.7


def test_unscored_is_neither_zero_nor_counted() -> None:
    document = build_document(run(relevance("a/1", None, 0.5), relevance("a/2", 0.4, 0.7)), answer_chars=10)
    assert document["statistics"]["avg_relevance_base"] == 0.4
    assert document["statistics"]["metrics"]["relevance"]["base"] == {"mean": 0.4, "scored": 1, "unscored": 1}
    assert document["results"][0]["jarvis_relevance_base"] is None


def test_a_run_of_the_base_alone_leaves_the_finetuned_keys_null() -> None:
    document = build_document(full_run(cases=2, variants=("base",)), answer_chars=10)
    check(document)
    assert document["statistics"]["avg_relevance_base"] is not None
    assert document["statistics"]["avg_relevance_finetuned"] is None
    assert document["results"][0]["finetuned_response"] is None


def test_the_finetuned_keys_are_the_first_adapters_and_every_variant_is_kept() -> None:
    document = build_document(full_run(cases=4, variants=("base", "v1", "v2")), answer_chars=10)
    check(document)
    means = {name: item["mean"] for name, item in document["statistics"]["metrics"]["relevance"].items()}
    assert document["statistics"]["avg_relevance_finetuned"] == means["v1"]
    assert means["v1"] < means["v2"]
    assert set(document["results"][0]["completions"]) == {"base", "v1", "v2"}


def test_answers_are_cut_and_marked() -> None:
    document = build_document(run(result("a/1", {}, texts={"base": "x" * 11, "finetuned": "x" * 10})), answer_chars=10)
    answers = document["results"][0]["completions"]
    assert answers["base"]["text"] == answers["finetuned"]["text"] == "x" * 10
    assert (answers["base"]["text_cut"], answers["finetuned"]["text_cut"]) == (True, False)


def test_answers_count_cache_hits_and_ends() -> None:
    answers: dict[str, Completion] = {
        "base": completion("a/1", "base", "ok", cached=True, completion_tokens=5),
        "finetuned": completion("a/1", "finetuned", "", finish="timeout", completion_tokens=None),
    }
    case = dataclasses.replace(result("a/1", {}), completions=answers)
    counts = build_document(run(case), answer_chars=10)["statistics"]["answers"]
    assert (counts["base"]["cached"], counts["base"]["completion_tokens"], counts["base"]["generated_tokens"]) == (
        1,
        5,
        0,
    )
    assert (counts["finetuned"]["timeout"], counts["finetuned"]["stop"]) == (1, 0)


def test_a_score_that_is_not_a_number_is_announced_and_unscored(caplog: pytest.LogCaptureFixture) -> None:
    document = build_document(run(relevance("a/1", float("nan"), float("inf"))), answer_chars=10)
    assert document["results"][0]["scores"]["relevance"] == {"base": None, "finetuned": None}
    assert "'relevance' gave nan for a/1" in caplog.text


def test_keys_in_headers_and_urls_do_not_reach_the_report() -> None:
    server = {"url": "https://me:secret@host/v1", "headers": {"Authorization": "Bearer secret"}}
    text = as_json(build_document(run(settings={"server": server}), answer_chars=10))
    assert "secret" not in text
    assert "Authorization" in text
    assert "@host/v1" in text
