"""One question, its answer streamed: the same words as when it comes at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from aiohttp import web
from support.evaluation_project import make_project, settings_for
from support.fake_chat_server import DONE, FakeChatServer, chunk, started

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.benchmark.query import answering, ask, question
from pytest_llmbench.benchmark.smoke import smoke
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.settings import Settings, load_settings
from pytest_llmbench.generation.backend import Backend
from pytest_llmbench.generation.local.backend import LocalBackend
from pytest_llmbench.studio import answering as studio_answering


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    usual = torch.get_num_threads()
    project = make_project(tmp_path_factory.mktemp("project"))
    backend = open_backend(settings_for(project, project))
    yield backend
    backend.close()
    torch.set_num_threads(usual)


@pytest.mark.parametrize("variant", ["base", "finetuned"])
def test_a_streamed_answer_is_the_one_that_comes_at_once(local: Backend, variant: str) -> None:
    case = question("monte le son", None)
    heard: list[str] = []
    streamed = ask(local, case, variant, heard.append)
    (whole,) = local.complete([case], variant)
    assert "".join(heard) == streamed.text == whole.text
    assert len(heard) > 1
    assert streamed.completion_tokens == whole.completion_tokens


def test_memory_that_runs_out_is_a_sentence_whether_the_answer_is_streamed_or_not(
    local: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalBackend, "_rows", lambda *_: (_ for _ in ()).throw(MemoryError()))
    unstreamed: Any = Unstreamed(local)
    for asked in (local, unstreamed):
        with pytest.raises(NotReadyError, match=r"^out of memory with this prompt alone; lower generation\.max_new"):
            ask(asked, question("monte le son", None), "base", lambda _: None)


class Unstreamed:
    """A backend that tells an answer only when it is whole."""

    def __init__(self, inner: Backend) -> None:
        self.complete = inner.complete


def test_the_fine_tune_answers_and_with_both_the_base_first(local: Backend) -> None:
    assert answering(local.variants, both=False) == ("finetuned",)
    assert answering(local.variants, both=True) == ("base", "finetuned")


def test_a_server_is_heard_while_it_writes() -> None:
    async def writing(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        response = await started(request)
        for word in ("Je ", "monte ", "le son."):
            await response.write(chunk(word))
        await response.write(chunk(finish="stop") + DONE)
        return response

    server = FakeChatServer(writing)
    backend = open_backend(load_settings(None, {"server": (server.url, "--test")}, {}))
    try:
        heard: list[str] = []
        answer = ask(backend, question("plus fort", "Tu es JARVIS."), "base", heard.append)
        assert heard == ["Je ", "monte ", "le son."]
        assert answer.text == "Je monte le son."
        assert [turn["role"] for turn in server.bodies[-1]["messages"]] == ["system", "user"]
        with pytest.raises(UsageError, match="two answers need a fine-tune beside the base") as raised:
            answering(backend.variants, both=True)
        assert raised.value.names == ("both", "model.adapter", "server.adapter")
    finally:
        backend.close()
        server.close()


@pytest.mark.parametrize(("text", "system"), [("caf\udce9", None), ("Qui ?", "caf\udce9")])
def test_bytes_that_are_no_utf8_are_refused(text: str, system: str | None) -> None:
    with pytest.raises(UsageError, match=r"^the question is not UTF-8; "):
        question(text, system)


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(UsageError, match="the question is empty"):
        question(" \n", None)


@pytest.mark.parametrize("asking", [studio_answering._opened, lambda settings: list(smoke(settings))])
def test_who_has_one_question_opens_one_engine(
    monkeypatch: pytest.MonkeyPatch, asking: Callable[[Settings], object]
) -> None:
    asked: list[int] = []

    def opened(_settings: Settings, *, engines: int) -> None:
        asked.append(engines)
        raise NotReadyError("nobody answers")

    monkeypatch.setattr("pytest_llmbench.benchmark.main_job.open_backend", opened)
    with contextlib.suppress(NotReadyError):
        asking(Settings.model_validate({"model": {"engine": "vllm"}}))
    assert asked == [1]
