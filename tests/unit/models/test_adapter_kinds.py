"""What real PEFT saves: refused by its configuration where it would change the base, and sound where it would not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    EvaConfig,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    TrainableTokensConfig,
    get_peft_model,
)
from support.tiny_models import save, tiny_llama
from transformers import AutoModelForCausalLM

from pytest_llmbench.core.errors import AdapterError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import read_adapter
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.sources import resolve
from pytest_llmbench.models.verification import prove_sound

TASK = "CAUSAL_LM"


def _lora(**changed: Any) -> LoraConfig:
    return LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": TASK, **changed})


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With biases, which few models have."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny_llama(tie_word_embeddings=request.param, attention_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    save(model, folder)
    return folder


def _trained(base: Path, config: PeftConfig, folder: Path) -> Path:
    with quiet_libraries():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn_like(parameter) * 0.1
        model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "cause", "cure"),
    [
        (
            _lora(bias="lora_only"),
            r"its bias is 'lora_only': it holds 4 biases of the base",
            "train it with bias: none",
        ),
        (_lora(bias="all"), r"its bias is 'all': it holds 8 biases", "merge it into its base"),
        (_lora(init_lora_weights="pissa"), "init_lora_weights is 'pissa'", "path_initial_model_for_weight_conversion"),
        (_lora(init_lora_weights="olora"), "init_lora_weights is 'olora'", "path_initial_model_for_weight_conversion"),
        (
            _lora(layer_replication=[[0, 2], [0, 2]]),
            "layer_replication lays the base's layers out anew",
            "train it with",
        ),
        (_lora(task_type="SEQ_CLS"), "trained for the task SEQ_CLS", "only CAUSAL_LM"),
        (_lora(alora_invocation_tokens=[3]), "activated LoRA", "train a plain one"),
        (PromptTuningConfig(num_virtual_tokens=2, task_type=TASK), "of the kind PROMPT_TUNING", "train one of these"),
        (PrefixTuningConfig(num_virtual_tokens=2, task_type=TASK), "of the kind PREFIX_TUNING", "train one of these"),
        (AdaptionPromptConfig(adapter_len=2, adapter_layers=1, task_type=TASK), "ADAPTION_PROMPT", "train one of"),
    ],
)
def test_what_would_change_the_base_is_refused_before_it_is_loaded(
    base: Path, tmp_path: Path, config: PeftConfig, cause: str, cure: str
) -> None:
    folder = _trained(base, config, tmp_path / "mine")
    with pytest.raises(
        AdapterError, match=rf"{folder} cannot be compared with its base in one model: .*{cause}.*{cure}"
    ):
        read_adapter(folder)


def test_loftq_is_refused_which_only_a_gpu_can_make(base: Path, tmp_path: Path) -> None:
    folder = _trained(base, _lora(), tmp_path / "mine")
    config = folder / "adapter_config.json"
    told = '"init_lora_weights": true'
    assert told in config.read_text()
    config.write_text(config.read_text().replace(told, '"init_lora_weights": "loftq"'))
    with pytest.raises(AdapterError, match=r"PEFT quantizes the base anew.*write true for init_lora_weights"):
        read_adapter(folder)


@pytest.mark.parametrize(
    "config",
    [
        _lora(use_rslora=True),
        _lora(use_dora=True),
        _lora(lora_bias=True),
        _lora(init_lora_weights="gaussian"),
        _lora(init_lora_weights="eva", eva_config=EvaConfig()),
        _lora(modules_to_save=["lm_head"]),
        _lora(modules_to_save=["embed_tokens"]),
        _lora(trainable_token_indices=[0, 1]),
        _lora(target_modules=[], target_parameters=["mlp.down_proj.weight"]),
        TrainableTokensConfig(target_modules=["embed_tokens"], token_indices=[0, 1], task_type=TASK),
    ],
)
def test_what_leaves_the_base_alone_is_sound(
    base: Path, tmp_path: Path, config: PeftConfig, settings_with: Callable[..., Settings]
) -> None:
    adapter = read_adapter(_trained(base, config, tmp_path / "mine"))
    loaded = load_base(resolve(str(base)), settings_with(quantization="none").model)
    attach(loaded, {"finetuned": adapter})
    soundness = prove_sound(loaded)
    assert soundness.base_gap == 0
    assert soundness.adapter_gaps["finetuned"] > 0


def test_a_kind_that_peft_cannot_hold_beside_another_is_told_as_that(
    base: Path, tmp_path: Path, settings_with: Callable[..., Settings]
) -> None:
    tokens = _trained(base, _lora(trainable_token_indices=[0, 1]), tmp_path / "tokens")
    plain = _trained(base, _lora(), tmp_path / "plain")
    loaded = load_base(resolve(str(base)), settings_with(quantization="none").model)
    with pytest.raises(AdapterError, match=r"plain does not fit tiny beside the adapters before it \(it may alone"):
        attach(loaded, {"tokens": read_adapter(tokens), "plain": read_adapter(plain)})


def test_a_merged_model_is_no_adapter(base: Path) -> None:
    with pytest.raises(AdapterError, match=r"is a whole model and no adapter.*give it as model\.base"):
        read_adapter(base)
