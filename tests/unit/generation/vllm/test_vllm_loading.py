"""Settings as vLLM's own arguments; vLLM itself is not needed for that."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.tiny_models import safetensors_bytes, write_adapter
from transformers import AutoConfig, GemmaConfig, MambaConfig

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


def config_of(name: str) -> Any:
    """What transformers reads of a registry model's configuration."""
    architecture: dict[str, Any] = {**load_registry()[name].architecture}
    return AutoConfig.for_model(**architecture)


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
    config, many = config_of("smollm2-135m"), dataclasses.replace(PLAN, places=64, context=2048)
    made = engine_arguments(source, config, {"finetuned": adapter}, ModelSettings(), PLAN, "cpu")
    alone = engine_arguments(source, config, {}, ModelSettings(), many, "cpu")
    assert made["enable_prefix_caching"] is False
    assert (made["enable_lora"], made["max_loras"], made["max_lora_rank"]) == (True, 1, 8)
    assert made["kv_cache_memory_bytes"] == 2**28
    assert alone["kv_cache_memory_bytes"] == 64 * 2048 * 30 * 192 * 2 * 4 * 5 // 4
    assert "enable_lora" not in alone


def test_of_an_unknown_architecture_keys_and_values_are_reckoned_by_its_heads_and_that_is_told(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    plan = dataclasses.replace(PLAN, places=64, context=2048)
    shape = {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}
    made = engine_arguments(source, GemmaConfig(**shape, head_dim=64), {}, ModelSettings(), plan, "cpu")
    assert made["kv_cache_memory_bytes"] == 64 * 2048 * 30 * 192 * 2 * 4 * 5 // 4
    assert "tiny: its architecture (gemma) is not known here: room for keys and values" in caplog.text
    (Path(source.path) / "model.safetensors").write_bytes(safetensors_bytes(2**31))
    made = engine_arguments(source, MambaConfig(), {}, ModelSettings(), plan, "cpu")
    assert made["kv_cache_memory_bytes"] == pytest.approx(2**31 / 4 * 5 / 4, rel=1e-3)


@pytest.mark.parametrize(
    ("config", "told", "dtype", "fits"),
    [
        ("smollm2-135m", "nf4", "bfloat16", True),
        ("smollm2-135m", "none", "bfloat16", False),
        ("smollm2-135m", "awq", "float16", False),
        (None, "nf4", "bfloat16", True),
    ],
)
def test_a_gpu_is_held_against_the_weights_as_they_are_loaded_and_not_as_they_are_stored(
    source: Source, monkeypatch: pytest.MonkeyPatch, config: str | None, told: str, dtype: str, *, fits: bool
) -> None:
    (Path(source.path) / "model.safetensors").write_bytes(safetensors_bytes(2**29))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (2**28, 2**33))
    plan = dataclasses.replace(PLAN, dtype=dtype, told=told)
    read = config_of(config) if config else GemmaConfig()
    with contextlib.nullcontext() if fits else pytest.raises(ModelError, match=r"GiB of weights and 0\.2 GiB of the"):
        made = engine_arguments(source, read, {}, ModelSettings(), plan, "cuda")
        assert made["gpu_memory_utilization"] == pytest.approx(0.95 * 2**28 / 2**33)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has vLLM read these keys of an adapter's configuration."""

    def install(*keys: str) -> None:
        module = types.ModuleType("vllm.lora.peft_helper")
        module.PEFTHelper = dataclasses.make_dataclass("PEFTHelper", keys)  # type: ignore[attr-defined]
        for name in ("vllm", "vllm.lora"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return install


def patterned(adapter: Adapter, **patterns: dict[str, int]) -> Adapter:
    file = Path(adapter.path) / "adapter_config.json"
    config = {**json.loads(file.read_text()), "alpha_pattern": {}, "rank_pattern": {}, **patterns}
    file.write_text(json.dumps(config))
    return adapter


@pytest.mark.parametrize("key", ["alpha_pattern", "rank_pattern"])
def test_an_adapter_that_this_vllm_would_scale_otherwise_is_refused(
    adapter: Adapter, key: str, reads: Callable[..., None]
) -> None:
    reads("r", "lora_alpha")
    with pytest.raises(AdapterError, match=f"adapter_config.json: {key} scales layers .*use model.engine: transform"):
        rank_places({"finetuned": patterned(adapter, **{key: {"q_proj": 16}})})


def test_layers_with_a_rank_of_their_own_have_room(adapter: Adapter, reads: Callable[..., None]) -> None:
    reads("r", "alpha_pattern", "rank_pattern")
    wide = patterned(adapter, rank_pattern={"q_proj": 100}, alpha_pattern={"q_proj": 7})
    assert rank_places({"finetuned": wide}) == 128


def test_what_vllm_raises_becomes_one_sentence(source: Source, adapter: Adapter) -> None:
    told = r"vLLM cannot run tiny .* with .*adapter: too large; model\.engine"
    with pytest.raises(ModelError, match=told) as caught, explained(source, {"finetuned": adapter}):
        raise ValueError("too large\nand more")
    assert "and more" not in str(caught.value)
