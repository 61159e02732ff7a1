"""Settings as vLLM's own arguments; vLLM itself is not needed for that."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.tiny_models import write_adapter

from pytest_llmbench.core.errors import AdapterError, ModelError, UsageError
from pytest_llmbench.core.settings import ModelSettings
from pytest_llmbench.generation.vllm.loading import Plan, engine_arguments, explained, quantization_of, rank_places
from pytest_llmbench.models.adapters import Adapter, read_adapter
from pytest_llmbench.models.registry import load_registry
from pytest_llmbench.models.sources import Source

PLAN = Plan("float32", None, "none", 4, 128)


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    return read_adapter(write_adapter(tmp_path / "adapter"))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "config.json").write_text(json.dumps(load_registry()["smollm2-135m"].architecture))
    return Source("tiny", "tiny", str(tmp_path), "hash", "folder")


@pytest.mark.parametrize(("rank", "place"), [(4, 8), (8, 8), (17, 32), (512, 512)])
def test_the_rank_is_rounded_up_to_one_that_vllm_takes(adapter: Adapter, rank: int, place: int) -> None:
    assert rank_places({"finetuned": dataclasses.replace(adapter, rank=rank)}) == place


def test_a_rank_beyond_all_of_them_is_refused(adapter: Adapter) -> None:
    with pytest.raises(AdapterError, match="has rank 513, and vLLM takes 512 at most"):
        rank_places({"finetuned": dataclasses.replace(adapter, rank=513)})


@pytest.mark.parametrize(
    ("quantization", "device", "told"),
    [("nf4", "cpu", "quantizes no weights on a CPU"), ("int8", "cuda", "quantizes no weights to 8 bits")],
)
def test_what_vllm_cannot_quantize_is_refused(quantization: str, device: str, told: str) -> None:
    model = ModelSettings.model_validate({"quantization": quantization})
    with pytest.raises(UsageError, match=f"{told}.*; set model.quantization: none"):
        quantization_of(model, SimpleNamespace(), device)


def test_a_checkpoint_keeps_the_quantization_that_it_is_stored_with() -> None:
    stored = SimpleNamespace(quantization_config={"quant_method": "awq"})
    assert quantization_of(ModelSettings(), stored, "cpu") == (None, "awq")
    assert quantization_of(ModelSettings(), SimpleNamespace(), "cuda") == ("bitsandbytes", "nf4")


def test_no_prompt_is_kept_and_a_cpu_reserves_what_the_answers_need(source: Source, adapter: Adapter) -> None:
    made = engine_arguments(source, {"finetuned": adapter}, ModelSettings(), PLAN, "cpu")
    alone = engine_arguments(source, {}, ModelSettings(), dataclasses.replace(PLAN, places=64, context=2048), "cpu")
    assert made["enable_prefix_caching"] is False
    assert (made["enable_lora"], made["max_loras"], made["max_lora_rank"]) == (True, 1, 8)
    assert made["kv_cache_memory_bytes"] == 2**28
    assert alone["kv_cache_memory_bytes"] == 64 * 2048 * 30 * 192 * 2 * 4 * 5 // 4
    assert "enable_lora" not in alone


def test_what_vllm_raises_becomes_one_sentence(source: Source, adapter: Adapter) -> None:
    told = r"vLLM cannot run tiny .* with .*adapter: too large; model\.engine"
    with pytest.raises(ModelError, match=told) as caught, explained(source, {"finetuned": adapter}):
        raise ValueError("too large\nand more")
    assert "and more" not in str(caught.value)
