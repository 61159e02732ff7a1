from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import WORDS, save, save_adapter
from transformers.quantizers import auto

from pytest_llmbench.core.errors import AdapterError, UsageError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.finetune.trainer import target_modules
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import read_adapter
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.moe_quantization import quantizing_experts
from pytest_llmbench.models.sources import resolve
from pytest_llmbench.models.verification import prove_sound

PROMPT = torch.arange(8)[None]


@pytest.fixture(scope="module")
def moe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3-MoE, its experts saved one by one as on the hub, in bfloat16."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    folder = tmp_path_factory.mktemp("moe") / "tiny-moe"
    config = Qwen3MoeConfig(
        vocab_size=len(WORDS),
        hidden_size=128,
        moe_intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=8,
        tie_word_embeddings=False,
    )
    model = Qwen3MoeForCausalLM(config).bfloat16()
    model.model.embed_tokens.weight.data.normal_()  # a trained model's residual stream outweighs a layer's noise
    save(model, folder)
    return folder


def test_fused_experts_are_quantized_and_answer_as_before(
    moe_folder: Path, settings_with: Callable[..., Settings]
) -> None:
    source = resolve(str(moe_folder))
    plain = load_base(source, settings_with(quantization="none").model)
    packed = load_base(source, settings_with().model)

    assert packed.footprint == pytest.approx(sum(packed.estimate.values()), rel=0.005)
    assert packed.estimate["experts"] * 7 < plain.estimate["experts"]
    with torch.no_grad():
        before, after = (loaded.model(PROMPT).logits.float().flatten() for loaded in (plain, packed))
    assert torch.cosine_similarity(before, after, dim=0) > 0.99


@pytest.mark.parametrize("double_quant", [True, False])
def test_each_expert_keeps_its_place_and_its_values(
    moe_folder: Path, settings_with: Callable[..., Settings], *, double_quant: bool
) -> None:
    from bitsandbytes import functional

    def experts(quantization: str) -> Any:
        settings = settings_with(quantization=quantization, double_quant=double_quant)
        return load_base(resolve(str(moe_folder)), settings.model).model.model.layers[1].mlp.experts

    plain, packed = experts("none"), experts("nf4")
    for name in ("gate_up_proj", "down_proj"):
        expected = functional.dequantize_4bit(
            *functional.quantize_4bit(
                getattr(plain, name).data.bfloat16(), quant_type="nf4", compress_statistics=double_quant
            )
        )
        assert torch.equal(getattr(packed, name), expected)


def test_an_adapter_sits_on_a_quantized_mixture_of_experts(
    moe_folder: Path, settings_with: Callable[..., Settings], tmp_path: Path
) -> None:
    save_adapter(moe_folder, tmp_path / "adapter", init_lora_weights=False)
    loaded = load_base(resolve(str(moe_folder)), settings_with().model)
    attach(loaded, {"finetuned": read_adapter(tmp_path / "adapter")})
    assert prove_sound(loaded).base_gap == 0


def test_an_adapter_that_is_said_to_have_experts_and_has_none_is_told_apart_from_a_misfit(
    moe_folder: Path, settings_with: Callable[..., Settings], tmp_path: Path
) -> None:
    save_adapter(moe_folder, tmp_path / "adapter", init_lora_weights=False)
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "target_parameters": ["down_proj"]}))
    loaded = load_base(resolve(str(moe_folder)), settings_with(quantization="none").model)
    with pytest.raises(AdapterError, match=r"names target_parameters \(down_proj\), and it has no weights of them"):
        attach(loaded, {"finetuned": read_adapter(tmp_path / "adapter")})


def test_an_adapter_of_experts_that_is_cut_short_does_not_fit_as_any_other(
    moe_folder: Path, settings_with: Callable[..., Settings], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    options = {"target_modules": ["q_proj"], "target_parameters": ["down_proj"]}
    save_adapter(moe_folder, tmp_path / "adapter", init_lora_weights=False, **options)
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file(
        {name: one for name, one in load_file(weights).items() if "0.self_attn.q_proj.lora_A" not in name}, weights
    )
    loaded = load_base(resolve(str(moe_folder)), settings_with(quantization="none").model)
    with pytest.raises(AdapterError, match=r"1 weights have no counterpart \(.*q_proj\.lora_A"):
        attach(loaded, {"finetuned": read_adapter(tmp_path / "adapter")})


def test_names_of_fused_experts_are_no_targets_wherever_else_they_stand(caplog: pytest.LogCaptureFixture) -> None:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "num_experts": 2}
    mixed = Qwen3MoeForCausalLM(Qwen3MoeConfig(vocab_size=16, mlp_only_layers=[0], **shape, **heads))
    assert target_modules(mixed, "all-linear") == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert "leaves out the linear layers down_proj, gate_proj, up_proj of this mixture" in caplog.text
    assert target_modules(mixed, ("q_proj",)) == ["q_proj"]
    with pytest.raises(UsageError, match=r"^targets: PEFT takes gate_proj, down_proj of this mixture") as raised:
        target_modules(mixed, ("q_proj", "gate_proj", "down_proj"))
    assert raised.value.names == ("targets",)


def test_transformers_gets_its_own_quantizer_back() -> None:
    usual = auto.AUTO_QUANTIZER_MAPPING["bitsandbytes_4bit"]
    with pytest.raises(ZeroDivisionError), quantizing_experts():
        raise ZeroDivisionError
    assert auto.AUTO_QUANTIZER_MAPPING["bitsandbytes_4bit"] is usual
