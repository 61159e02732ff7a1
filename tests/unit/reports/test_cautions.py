"""What a reader must know before believing a comparison is in every report, in both languages."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

import jsonschema
import pytest
from support.evaluation_documents import evaluation_document
from support.report_runs import built, result, run

from pytest_llmbench.benchmark.evaluation.document import typed_evaluation
from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.cautions import answer_cautions, cautions
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.views.evaluation import evaluation_report
from pytest_llmbench.runs.typed import run_document


def document(*answers: dict[str, tuple[str, str | None]]) -> dict[str, Any]:
    """A run of these answers: text and reasoning of each variant."""
    some = built(run(*(result(f"a/{place}", {}, texts=dict.fromkeys(row, "")) for place, row in enumerate(answers))))
    for row, given in zip(some["results"], answers, strict=True):
        for name, (text, thought) in given.items():
            row["completions"][name] |= {"text": text, "reasoning": thought}
    return some


def test_answers_that_ended_within_their_thinking_are_counted_for_each_variant() -> None:
    told = cautions(
        run_document(
            document(
                {"base": ("", "hm"), "finetuned": ("Oui.", "hm")},
                {"base": ("", "hm"), "finetuned": ("", "hm")},
                {"base": ("", "hm"), "finetuned": ("", None)},
            )
        ),
        words("en"),
    )
    assert len(told) == 2
    assert told[0].startswith("base spent the whole budget of each of its 3 answers on thinking")
    assert told[1].startswith("1 of 3 answers of finetuned ended before its thinking did")
    assert all("generation.max_reasoning_tokens" in line and "enable_thinking" in line for line in told)


def test_a_failed_answer_is_counted_with_its_reason() -> None:
    rows = document({"base": ("", None)}, {"base": ("Oui.", None)})
    rows["results"][0]["completions"]["base"] |= {"error": "no system turn", "finish": "error"}
    assert cautions(run_document(rows), words("en")) == [
        "1 of 2 answers of base failed and have no score. The first reason: no system turn"
    ]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_runs_and_evaluations_say_it_in_both_languages(language: str) -> None:
    asked = document({"base": ("", "hm"), "finetuned": ("", "hm")}, {"base": ("Oui.", None), "finetuned": ("", "hm")})
    rows = [{"question": "?", "answers": row["completions"]} for row in asked["results"]]
    evaluation = typed_evaluation(evaluation_document() | {"results": rows})
    said = answer_cautions(evaluation.metadata.backend, evaluation.answers, words(language))
    assert cautions(run_document(asked), words(language)) == list(said)


def test_a_failed_answer_to_a_general_question_is_shown_with_its_reason() -> None:
    answers = {
        "base": {"text": "", "reasoning": None, "finish": "error", "error": "HTTP 500"},
        "finetuned": {"text": "", "reasoning": "hm", "finish": "length", "error": None},
    }
    forgot = {"texts": 0, "perplexity": None, "answers": [{"question": "general?", "answers": answers}]}
    document = evaluation_document(forgetting=forgot)
    schema = importlib.resources.files("pytest_llmbench").joinpath("schemas/evaluation.schema.json")
    jsonschema.validate(document, json.loads(schema.read_text("utf-8")))
    told = Text().render(evaluation_report(typed_evaluation(document), "en")).partition("Forgetting")[2]
    assert "HTTP 500" in told
    assert "no answer" in told
    assert "every general text is too short" in told


def test_an_evaluation_names_the_fine_tune_that_a_server_answered_as() -> None:
    document = evaluation_document()
    server = {"backend": "server", "url": "http://here/v1", "models": {"base": "qwen", "finetuned": "voice-lora"}}
    document["metadata"]["backend"] = server
    asked = Text().render(evaluation_report(typed_evaluation(document), "en"))
    assert "base http://here/v1, fine-tuned: voice-lora; server" in asked
    document["metadata"]["backend"] |= {"models": ["qwen"], "quantization": 4}  # what is no such thing is not said
    assert "base http://here/v1, no adapter; server" in Text().render(
        evaluation_report(typed_evaluation(document), "en")
    )


def test_corpus_scores_say_of_how_many_questions_they_are_where_some_were_not_answered_by_all() -> None:
    document = evaluation_document()
    assert "Over all answers at once (0 to 100): base BLEU 20.4" in evaluated(document)
    for of in document["corpus"].values():
        of["questions"] = 5
    assert "to the 5 of 8 questions that every variant answered: base BLEU 20.4" in evaluated(document)


def evaluated(document: dict[str, Any]) -> str:
    return " ".join(Text().render(evaluation_report(typed_evaluation(document), "en")).split())
