from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.tiny_models import WORDS, save

from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.memory.weights import GIB, estimate_weights, gpu_memory_lines
from pytest_llmbench.models.sources import Source, resolve


@pytest.mark.parametrize(
    "model",
    [
        {"quantization": "nf4"},
        {"quantization": "nf4", "double_quant": False},
        {"quantization": "int8"},
        {"quantization": "none"},
    ],
)
def test_the_estimate_is_what_the_loaded_model_takes(
    tiny: Source, settings_with: Callable[..., Settings], model: dict[str, object]
) -> None:
    loaded = load_base(tiny, settings_with(**model).model)
    assert loaded.footprint == pytest.approx(sum(loaded.estimate.values()), rel=0.005)


def test_the_estimate_knows_the_layers_of_gpt2(tmp_path: Path, settings_with: Callable[..., Settings]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=len(WORDS), n_embd=64, n_layer=2, n_head=2, n_positions=64)
    save(GPT2LMHeadModel(config), tmp_path / "gpt2")
    loaded = load_base(resolve(str(tmp_path / "gpt2")), settings_with().model)
    assert loaded.footprint == pytest.approx(sum(loaded.estimate.values()), rel=0.005)


@pytest.mark.parametrize(("double_quant", "bits"), [(True, 4.127), (False, 4.5)])
def test_a_large_nf4_model_takes_the_published_bits_a_weight(double_quant: bool, bits: float) -> None:  # noqa: FBT001
    from transformers import LlamaConfig

    config = LlamaConfig(hidden_size=4096, intermediate_size=8192, num_hidden_layers=2)
    whole = estimate_weights(config, "none")["linear"]
    assert estimate_weights(config, "nf4", double_quant=double_quant)["linear"] * 16 / whole == pytest.approx(
        bits, abs=1e-3
    )


def test_qwen3_30b_a3b_is_known_to_need_its_experts_quantized() -> None:
    from transformers import Qwen3MoeConfig

    config = Qwen3MoeConfig(
        vocab_size=151936,
        hidden_size=2048,
        moe_intermediate_size=768,
        num_hidden_layers=48,
        num_attention_heads=32,
        num_key_value_heads=4,
        head_dim=128,
        num_experts=128,
        tie_word_embeddings=False,
    )
    assert sum(estimate_weights(config, "none").values()) / 2 == pytest.approx(30_532_122_624)
    assert sum(estimate_weights(config, "nf4").values()) / GIB == pytest.approx(15.5, abs=0.1)


def test_gpu_memory_is_shown_as_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: [18.5, 8.2][index] * GIB)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: [20.1, 10.5][index] * GIB)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=24 * GIB, major=8, minor=6)
    )
    assert gpu_memory_lines() == [
        "GPU 0: 18.5GB / 20.1GB reserved / 24.0GB total",
        "GPU 1: 8.2GB / 10.5GB reserved / 24.0GB total",
    ]


def test_without_a_gpu_there_is_nothing_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_memory_lines() == []
