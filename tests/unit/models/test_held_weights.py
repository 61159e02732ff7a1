"""4-bit weights held unpacked: the same values, where memory allows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from support.tiny_models import WORDS, save

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import read_adapter
from pytest_llmbench.models.held_weights import fast_dtype, held_bytes, hold_weights, most_rows
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.sources import Source, resolve
from pytest_llmbench.models.verification import prove_sound

Build = Callable[..., Settings]
PROMPT = torch.arange(8)[None]


@pytest.fixture(scope="module")
def mixture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random mixture of four experts, fused."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    folder = tmp_path_factory.mktemp("moe") / "mixture"
    shape = {"hidden_size": 64, "moe_intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    experts = {"num_key_value_heads": 1, "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 4}
    config = Qwen3MoeConfig(vocab_size=len(WORDS), tie_word_embeddings=False, **shape, **experts)
    save(Qwen3MoeForCausalLM(config).bfloat16(), folder)
    return folder


def held(source: Source, settings: Settings) -> LoadedModel:
    loaded = load_base(source, settings.model)
    hold_weights(loaded, settings.model)
    return loaded


def test_held_weights_are_the_values_that_bitsandbytes_computes_with(tiny: Source, settings_with: Build) -> None:
    from bitsandbytes.functional import dequantize_4bit

    packed = load_base(tiny, settings_with().model).model.model.layers[0].mlp.down_proj
    loaded = held(tiny, settings_with(hold="dequantized"))
    layer = loaded.model.model.layers[0].mlp.down_proj
    assert type(layer) is torch.nn.Linear
    assert torch.equal(layer.weight, dequantize_4bit(packed.weight.data, packed.weight.quant_state).to(layer.weight))
    assert (loaded.hold, loaded.dtype) == ("dequantized", fast_dtype("bfloat16", "cpu"))
    assert {str(one.dtype) for one in loaded.model.parameters()} == {f"torch.{loaded.dtype}"}
    assert loaded.footprint == pytest.approx(sum(loaded.estimate.values()), rel=0.01)


def test_an_answer_of_float32_is_the_same_packed_and_held(tiny: Source, settings_with: Build) -> None:
    packed = held(tiny, settings_with(hold="packed", compute_dtype="float32"))
    loaded = held(tiny, settings_with(hold="dequantized", compute_dtype="float32"))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model(PROMPT).logits, packed.model(PROMPT).logits.float(), rtol=1e-4, atol=1e-4
        )


def test_fused_experts_are_held_too(mixture_folder: Path, settings_with: Build) -> None:
    source = resolve(str(mixture_folder))
    packed = load_base(source, settings_with().model)
    loaded = held(source, settings_with(hold="dequantized"))
    for name in ("gate_up_proj", "down_proj"):
        before, after = (getattr(one.model.model.layers[0].mlp.experts, name) for one in (packed, loaded))
        assert torch.equal(after, before.to(after.dtype))
    assert held_bytes(packed.model, 4) == held_bytes(loaded.model, 4)
    with torch.no_grad():
        assert loaded.model(PROMPT).logits.isfinite().all()


def test_adapters_sit_on_held_weights_and_leave_the_base_as_it_is(
    tiny: Source, adapter_folder: Path, settings_with: Build
) -> None:
    loaded = held(tiny, settings_with(hold="dequantized"))
    with torch.no_grad():
        raw = loaded.model(PROMPT).logits
    attach(loaded, {"finetuned": read_adapter(adapter_folder)})
    soundness = prove_sound(loaded)
    assert soundness.base_gap == 0 < soundness.adapter_gaps["finetuned"]
    with torch.no_grad(), loaded.speaking_as("base") as model:
        assert torch.equal(model(PROMPT).logits, raw)


@pytest.mark.parametrize(
    ("total", "free", "hold", "expected"),
    [
        (2**40, 2**40, "auto", "dequantized"),
        (2**40, 2**40, "packed", "packed"),
        (2**16, 2**40, "auto", "packed"),
        (2**40, 2**16, "auto", "packed"),
        (2**16, 2**40, "dequantized", "dequantized"),
    ],
)
def test_memory_decides_how_weights_are_held(  # a table
    tiny: Source,
    settings_with: Build,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    total: int,
    free: int,
    hold: str,
    expected: str,
) -> None:
    settings = settings_with(hold=hold).model
    loaded = load_base(tiny, settings)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=total, available=free))
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        hold_weights(loaded, settings)
    assert loaded.hold == expected
    assert ("stays packed" in caplog.text) == (expected != hold and expected == "packed")


def test_memory_that_can_only_be_guessed_is_announced(
    tiny: Source, settings_with: Build, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_with(hold="auto").model
    loaded = load_base(tiny, settings)
    loaded.model.config.intermediate_size = 0
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        hold_weights(loaded, settings)
    assert "its shapes are unknown" in caplog.text
    assert loaded.hold == "dequantized"


def test_what_does_not_fit_is_refused_where_it_was_asked_for(
    tiny: Source, settings_with: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_with(hold="dequantized").model
    loaded = load_base(tiny, settings)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2**40, available=2**16))
    with pytest.raises(ModelError, match=r"set model.hold: auto or packed"):
        hold_weights(loaded, settings)


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_other_weights_are_left_as_they_are(tiny: Source, settings_with: Build, quantization: str) -> None:
    loaded = held(tiny, settings_with(quantization=quantization, hold="dequantized"))
    assert loaded.hold is None


@pytest.mark.parametrize(
    ("known", "expected"), [({"avx2": True}, "float32"), ({"avx512_bf16": True}, "bfloat16"), ({}, "float32")]
)
def test_a_cpu_computes_in_what_it_has_instructions_for(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert fast_dtype("bfloat16", "cpu") == expected
    assert fast_dtype("bfloat16", "cuda:0") == "bfloat16"


def test_more_rows_are_answered_at_once_where_memory_has_room_for_them(
    tiny: Source, settings_with: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = held(tiny, settings_with(hold="dequantized"))
    assert most_rows(loaded) == 64
    monkeypatch.setattr("pytest_llmbench.models.held_weights.total_memory", lambda: 4 * loaded.footprint)
    assert most_rows(loaded) == 32
