"""Faults of vLLM's backend as sentences; vLLM itself is not needed for that."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.rows import Limits, Row
from pytest_llmbench.generation.vllm import backend as module
from pytest_llmbench.generation.vllm.backend import VllmBackend
from pytest_llmbench.generation.vllm.loading import Plan
from pytest_llmbench.models.sources import Source

ADAPTER: Any = SimpleNamespace(path="adapters/tiny")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "imported", SimpleNamespace)
    monkeypatch.setattr(module, "device_of", lambda _: "cpu")


@pytest.mark.parametrize(
    ("config", "told"), [("{", "cannot be loaded"), ('{"model_type": "unheard-of"}', "does not know this architecture")]
)
def test_files_that_cannot_be_read_are_told_before_the_engine_is_opened(tmp_path: Path, config: str, told: str) -> None:
    (tmp_path / "config.json").write_text(config)
    source = Source("tiny", "tiny", str(tmp_path), "hash", "folder")
    with pytest.raises(ModelError, match=told):
        VllmBackend(source, {}, Settings.model_validate({"model": {"quantization": "none"}}), (), {})


class EngineDeadError(Exception):
    """vLLM's own, of an engine in another process."""


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> VllmBackend:
    """A backend whose engine raises this kind of error whatever it is asked."""
    named = SimpleNamespace(EngineDeadError=EngineDeadError, LoRARequest=lambda *_: None)
    for name in ("vllm", "vllm.v1", "vllm.v1.engine", "vllm.v1.engine.exceptions", "vllm.lora", "vllm.lora.request"):
        monkeypatch.setitem(sys.modules, name, named)

    def ended(*_: Any, **__: Any) -> Any:
        raise request.param("CUDA error: an illegal memory access\nCUDA kernel errors might be asynchronous")

    backend = object.__new__(VllmBackend)
    backend._engine = SimpleNamespace(step=ended, add_request=ended, add_lora=ended)
    backend._vllm = SimpleNamespace(LLM=lambda: SimpleNamespace(llm_engine=backend._engine))
    backend._source, backend._adapters = Source("tiny", "tiny", "", "hash", "folder"), {"finetuned": ADAPTER}
    monkeypatch.setattr(backend, "close", ended)
    return backend


@pytest.mark.parametrize("dead", [RuntimeError, EngineDeadError], indirect=True)
def test_an_engine_that_ends_while_it_answers_is_a_sentence_that_says_to_start_again(
    dead: VllmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_sampling_params", lambda *_: SimpleNamespace())
    monkeypatch.setattr(VllmBackend, "_sampling", None)
    dead._prompts, dead._loras = SimpleNamespace(most_tokens=8, ends=lambda _: ()), {}  # type: ignore[assignment]
    told = r"illegal memory access; start again, a run that is kept can be resumed$"
    with pytest.raises(NotReadyError, match=told):
        dead._step()
    with pytest.raises(NotReadyError, match=told):
        dead._ask("a", Row(0, [1], 0), "base")


@pytest.mark.parametrize("dead", [RuntimeError, EngineDeadError], indirect=True)
def test_an_engine_that_ends_while_it_is_opened_is_a_sentence_about_the_model(dead: VllmBackend) -> None:
    with pytest.raises(ModelError, match=r"^vLLM cannot run tiny .*: CUDA error: an illegal memory access; model"):
        dead._open({})


@pytest.mark.parametrize(
    ("reason", "finish", "error"),
    [("stop", "stop", None), ("length", "length", None), ("abort", "error", "vLLM gave the answer up")],
)
def test_an_answer_that_vllm_gives_up_is_no_answer(reason: str, finish: str, error: str | None) -> None:
    backend, row, case = object.__new__(VllmBackend), Row(0, [1], 0), Case("s", "c", "p", ())
    ended = SimpleNamespace(finished=True, outputs=[SimpleNamespace(token_ids=[], finish_reason=reason)])
    assert backend._extend(row, ended, Limits(frozenset(), 9, 9.0), 1.0, 1.0)
    told = Completion(case.name, 0, "base", "", row.finish or "error")
    backend._prompts = SimpleNamespace(completion=lambda *_: told)  # type: ignore[assignment]
    done = backend._completion(case, "base", row, 1)
    assert (done.finish, done.error) == (finish, error)


@pytest.mark.parametrize(("asked", "together"), [(1, 1), (3, 2)])
def test_an_answer_tells_how_many_were_computed_with_it_at_most(
    monkeypatch: pytest.MonkeyPatch, asked: int, together: int
) -> None:
    backend, case = object.__new__(VllmBackend), Case("s", "c", "p", ())
    backend._at_once = 2
    backend._prompts = SimpleNamespace(  # type: ignore[assignment]
        askable=lambda asked: (asked, []),
        rows=lambda asked: [Row(at, [1], 0) for at in range(len(asked))],
        completion=lambda _case, _variant, _row, size: Completion(case.name, 0, "base", "", "stop", batch_size=size),
    )
    monkeypatch.setattr(VllmBackend, "_grown", lambda _, rows, __: iter(rows))
    assert {done.batch_size for done in backend.complete([case] * asked, "base")} == {together}


@pytest.mark.parametrize(("value", "told"), [(None, None), ("0", None), ("1", "1")])
def test_answers_made_alike_in_every_batch_are_told_from_others(
    monkeypatch: pytest.MonkeyPatch, value: str | None, told: str | None
) -> None:
    monkeypatch.delenv("VLLM_BATCH_INVARIANT", raising=False)
    if value is not None:
        monkeypatch.setenv("VLLM_BATCH_INVARIANT", value)
    monkeypatch.setattr(VllmBackend, "_asked", lambda *_: {})
    monkeypatch.setattr(module, "config_hash", lambda _: "hash")
    backend = object.__new__(VllmBackend)
    backend._source = Source("tiny", "tiny", "", "hash", "folder")
    backend._plan, backend._device, backend._at_once = Plan("float32", None, "none", 4, 128), "cuda", 4
    backend._vllm = SimpleNamespace(__version__="0")
    assert backend.identity("base").get("batch_invariant") == told
