"""A whole evaluation on a tiny model: every variant answers, is scored, compared and reported."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import filelock
import jsonschema
import pytest
import torch
from aiohttp import web
from support.evaluation_project import ROWS, Count, make_project, settings_for, write
from support.fake_chat_server import DONE, FakeChatServer, chunk, started
from support.schemas import schema

from pytest_llmbench.benchmark.evaluation.document import typed_evaluation
from pytest_llmbench.benchmark.evaluation.evaluate import EvaluationRequest, _as_answers_are_read, _Asked, evaluate
from pytest_llmbench.benchmark.evaluation.questions import GENERAL, RETRIEVAL, TEST
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.settings import Settings, load_settings
from pytest_llmbench.generation.backend import Backend
from pytest_llmbench.generation.completion_store import CompletionJournal
from pytest_llmbench.generation.local.backend import LocalBackend
from pytest_llmbench.reports.blocks import Depth
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.views.evaluation import evaluation_report
from pytest_llmbench.reports.writing.evaluation import write_evaluation

VARIANTS = ["base", "finetuned", "retrieval", "retrieval+finetuned"]


@pytest.fixture(scope="module", autouse=True)
def _threads_come_back() -> Iterator[None]:
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def settings(project: Path) -> Settings:
    return settings_for(project, project / "reports")


@pytest.fixture(scope="module")
def request_of(project: Path) -> EvaluationRequest:
    return EvaluationRequest(
        project / "test.jsonl", chunks=project / "chunks.jsonl", passages=1, general=project / "general.jsonl"
    )


@pytest.fixture(scope="module")
def document(settings: Settings, request_of: EvaluationRequest) -> dict[str, Any]:
    return evaluate(settings, request_of, Count())


def test_every_variant_answers_every_question_and_each_has_its_passage(document: dict[str, Any]) -> None:
    assert document["variants"] == VARIANTS
    assert [result["question"] for result in document["results"]] == [prompt for prompt, _ in ROWS]
    for result in document["results"]:
        assert list(result["answers"]) == VARIANTS
    assert document["results"][1]["passages"][0]["text"] == "monte le son"


def test_means_are_those_of_the_scores_beside_the_answers(document: dict[str, Any]) -> None:
    for variant in VARIANTS:
        scores = [result["scores"]["chrf"][variant] for result in document["results"]]
        assert document["scores"][variant]["chrf"]["mean"] == pytest.approx(sum(scores) / len(scores))
        assert document["scores"][variant]["chrf"]["count"] == len(ROWS)


def test_all_are_held_against_the_base_and_the_fine_tune_against_retrieval_too(document: dict[str, Any]) -> None:
    pairs = {(one["variant"], one["against"]) for one in document["comparisons"]}
    assert pairs == {(variant, "base") for variant in VARIANTS[1:]} | {("finetuned", "retrieval")}
    assert {one["metric"] for one in document["comparisons"]} >= {"bleu", "chrf", "repetition", "tool_accuracy"}


def test_forgetting_is_told_as_perplexity_before_and_after_and_as_answers(document: dict[str, Any]) -> None:
    told = document["forgetting"]["perplexity"]
    assert told["base"]["ratio"] is None
    assert told["finetuned"]["ratio"] > 0
    assert [one["question"] for one in document["forgetting"]["answers"]] == ["bonjour"]
    assert list(document["forgetting"]["answers"][0]["answers"]) == ["base", "finetuned"]


def test_reports_are_whole_and_the_json_is_the_document(document: dict[str, Any], settings: Settings) -> None:
    paths = write_evaluation(document, settings.output)
    assert json.loads(paths["json"].read_text(encoding="utf-8")) == json.loads(json.dumps(document))
    jsonschema.Draft202012Validator.check_schema(schema("evaluation"))
    jsonschema.validate(json.loads(paths["json"].read_text(encoding="utf-8")), schema("evaluation"))
    page = paths["markdown"].read_text(encoding="utf-8")
    assert "<code>retrieval+finetuned</code> |" in page
    assert "(evaluation.png)" in page
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    for language, word in (("en", "no difference shown"), ("fr", "aucun écart démontré")):
        assert word in "\n".join(
            terminal_lines(evaluation_report(typed_evaluation(document), language), 110, Depth.FULL)
        )


def test_a_stopped_evaluation_resumes_without_asking_twice(
    settings: Settings, request_of: EvaluationRequest, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_backend: Backend, *_: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, "losses", broken)  # asked last, when all answers are there
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings, request_of, Count())
    monkeypatch.undo()
    monkeypatch.setattr(LocalBackend, "complete", broken)
    closed: list[Path] = []
    close = CompletionJournal.close

    def noted(journal: CompletionJournal) -> None:
        closed.append(journal.folder)
        close(journal)

    monkeypatch.setattr(CompletionJournal, "close", noted)
    again = evaluate(settings, dataclasses.replace(request_of, resume=True), Count())
    assert again["scores"] == document["scores"]
    assert closed == [settings.output.report_dir / ".evaluation"]


def test_two_evaluations_in_one_report_folder_do_not_mix(settings: Settings, request_of: EvaluationRequest) -> None:
    folder = settings.output.report_dir / ".evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"), pytest.raises(UsageError, match="in use: another evaluation"):
        evaluate(settings, request_of, Count())


def test_the_base_alone_is_evaluated_without_comparisons(
    settings: Settings, request_of: EvaluationRequest, tmp_path: Path
) -> None:
    alone = settings.model_copy(
        update={
            "model": settings.model.model_copy(update={"adapter": "none"}),
            "output": settings.output.model_copy(update={"report_dir": tmp_path}),
        }
    )
    found = evaluate(alone, dataclasses.replace(request_of, chunks=None, general=None, limit=2), Count())
    assert found["variants"] == ["base"]
    assert found["comparisons"] == []
    assert len(found["results"]) == 2
    assert set(write_evaluation(found, alone.output)) == {"json", "text", "markdown", "html", "png"}


def test_losses_are_those_of_the_model_read_token_by_token(settings: Settings) -> None:
    from pytest_llmbench.benchmark.main_job import open_backend

    backend = open_backend(settings)
    assert isinstance(backend, LocalBackend)
    (loss,) = backend.losses(["monte le son ."], "base")
    model, tokenizer = backend._loaded.model, backend._loaded.tokenizer
    tokens = tokenizer("monte le son .", return_tensors="pt")["input_ids"]
    with torch.no_grad(), backend._loaded.speaking_as("base"):
        expected = float(model(input_ids=tokens, labels=tokens).loss)
    assert loss.tokens == 3
    assert math.isclose(loss.mean, expected, rel_tol=1e-5)
    backend.close()


@pytest.mark.parametrize(("texts", "read"), [(["monte le son .", "son"], 1), (["son"], 0)])
def test_general_texts_of_one_token_count_in_nobodys_perplexity(
    settings: Settings,
    request_of: EvaluationRequest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    texts: list[str],
    read: int,
) -> None:
    general = write(tmp_path / "short.jsonl", *({"text": text} for text in texts))
    request = dataclasses.replace(request_of, chunks=None, general=general, limit=1)
    forgetting = evaluate(settings, request, Count())["forgetting"]
    assert forgetting["texts"] == read
    assert bool(forgetting["perplexity"]) is bool(read)
    assert f"1 of {len(texts)} general texts are too short to be predicted" in caplog.text


@pytest.mark.parametrize("named", ["beside", "learnt"])
def test_an_answer_that_names_another_tool_than_its_own_is_wrong_whatever_rows_are_drawn(
    tmp_path: Path, named: str
) -> None:
    async def call_two(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        response = await started(request)
        await response.write(chunk(f"[{named}] [refund]") + chunk(finish="stop") + DONE)
        return response

    rows = [{"prompt": str(place), "completion": "oui", "tool": "refund" if place else "beside"} for place in range(9)]
    test = write(tmp_path / "test.jsonl", *rows)
    vocabulary = tmp_path / "tools.yaml"
    vocabulary.write_text("tools: {learnt: [learn]}", encoding="utf-8")
    server = FakeChatServer(call_two)
    try:
        settings = load_settings(None, {"server": (server.url, ""), "report-dir": (str(tmp_path / "r"), "")}, {})
        benchmark = settings.benchmark.model_copy(update={"vocabulary": str(vocabulary)})
        settings = settings.model_copy(update={"benchmark": benchmark})
        found = evaluate(settings, EvaluationRequest(test, limit=1, general=None), Count())
    finally:
        server.close()
    (result,) = found["results"]
    assert result["question"] != "0"
    assert result["scores"]["tool_accuracy"]["base"] == 0


def test_a_server_is_evaluated_too_and_tells_no_perplexity(
    request_of: EvaluationRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.text())["messages"][-1]["content"]
        if asked == "bonjour":
            return web.json_response({"error": {"message": "no greetings"}}, status=400)
        response = await started(request)
        await response.write(chunk(asked.rpartition("Question : ")[2]) + chunk(finish="stop") + DONE)
        return response

    server = FakeChatServer(echo)
    try:
        settings = load_settings(None, {"server": (server.url, ""), "report-dir": (str(tmp_path), "")}, {})
        found = evaluate(settings, request_of, Count())
    finally:
        server.close()
    assert found["variants"] == ["base", "retrieval"]
    assert found["scores"]["base"] == found["scores"]["retrieval"]
    assert found["forgetting"]["perplexity"] is None
    assert "the engine or server does not tell how likely a text is" in caplog.text
    told = "\n".join(terminal_lines(evaluation_report(typed_evaluation(found), "en"), 110, Depth.FULL))
    assert "the engine or server does not tell" in told
    assert "no greetings" in told.partition("Forgetting")[2]


def test_passages_that_hold_the_test_set_itself_are_announced(
    settings: Settings, request_of: EvaluationRequest, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(settings, dataclasses.replace(request_of, chunks=request_of.test, general=None), Count())
    assert "4 of 4 questions stand among the passages with their answers" in caplog.text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"context_prompt": "{question}"}, r"has no \{passages\}"),
        ({"general": Path("bad.jsonl")}, "bad.jsonl:1: a row has a 'text'"),
        ({"test": Path("missing.jsonl")}, "missing.jsonl"),
    ],
)
def test_a_wrong_file_is_told_before_the_model_is_loaded(
    changed: dict[str, Any],
    message: str,
    settings: Settings,
    request_of: EvaluationRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "bad.jsonl", {"texte": "bonjour"})
    monkeypatch.setattr(
        "pytest_llmbench.benchmark.evaluation.evaluate.open_backend", lambda *_, **__: pytest.fail("loaded")
    )
    with pytest.raises(UsageError, match=message):
        evaluate(settings, dataclasses.replace(request_of, **changed), Count())


def test_general_texts_that_do_not_fit_into_memory_are_a_sentence_that_says_how_to_go_on(
    settings: Settings, request_of: EvaluationRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = MemoryError()
    monkeypatch.setattr("pytest_llmbench.generation.local.backend.text_losses", lambda *_: (_ for _ in ()).throw(out))
    settings = settings.model_copy(update={"output": settings.output.model_copy(update={"report_dir": tmp_path})})
    with pytest.raises(NotReadyError, match=r"out of memory reading the general texts.*resume: what was answered is"):
        evaluate(settings, dataclasses.replace(request_of, chunks=None, limit=2), Count())


def test_the_engine_is_opened_for_all_that_it_is_asked_and_the_test_set_alone_held_against_training_rows(
    settings: Settings, request_of: EvaluationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(_settings: Settings, cases: Sequence[Case], *, besides: Sequence[Case]) -> Backend:
        assert {case.category for case in cases} == {TEST}
        assert [case.category for case in besides] == [RETRIEVAL] * len(ROWS) + [GENERAL]
        raise UsageError("opened")

    monkeypatch.setattr("pytest_llmbench.benchmark.evaluation.evaluate.open_backend", opened)
    with pytest.raises(UsageError, match="opened"):
        evaluate(settings, request_of, Count())


def test_references_are_handed_to_the_engine_at_once_each_text_one_time() -> None:
    handed: list[list[str]] = []

    def unmarked(texts: list[str]) -> list[str]:
        handed.append(texts)
        return [text.upper() for text in texts]

    cases = [Case(TEST, str(at), "p", (), reference=text) for at, text in enumerate(["a", None, "b", "a"])]
    told: Any = SimpleNamespace(unmarked=unmarked)
    read = _as_answers_are_read(_Asked(cases, None, cases[:1], None, (), frozenset()), told)
    assert [case.reference for case in (*read.test, *read.retrieval)] == ["A", "", "B", "A", "A"]
    assert handed == [["a", "", "b"]]


def test_a_reference_has_no_special_tokens_as_answers_have_none(
    settings: Settings, request_of: EvaluationRequest, tmp_path: Path
) -> None:
    rows = ({"prompt": prompt, "completion": f"<end> {answer}"} for prompt, answer in ROWS)
    test = write(tmp_path / "marked.jsonl", *rows)
    request = dataclasses.replace(request_of, test=test, chunks=None, general=None)
    results = evaluate(settings, request, Count())["results"]
    assert [result["reference"] for result in results] == [answer for _, answer in ROWS]
