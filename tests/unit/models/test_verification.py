from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import save_adapter

from pytest_llmbench.core.errors import AdapterError, ModelError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import read_adapter
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.sources import Source
from pytest_llmbench.models.verification import fingerprint, prove_sound, raw_base


@pytest.fixture
def pair(tiny: Source, settings_with: Callable[..., Settings], adapter_folder: Path) -> LoadedModel:
    loaded = load_base(tiny, settings_with(quantization="none").model)
    attach(loaded, {"finetuned": read_adapter(adapter_folder)})
    return loaded


def test_a_sound_pair_is_measured(pair: LoadedModel) -> None:
    soundness = prove_sound(pair)
    assert soundness.base_gap == 0
    assert soundness.adapter_gaps["finetuned"] > 0
    assert soundness.tokens > 0


def test_a_base_alone_is_sound(tiny: Source, settings_with: Callable[..., Settings]) -> None:
    assert prove_sound(load_base(tiny, settings_with().model)).adapter_gaps == {}


def test_an_adapter_without_effect_is_an_error(
    tiny: Source, tiny_folder: Path, settings_with: Callable[..., Settings], tmp_path: Path
) -> None:
    save_adapter(tiny_folder, tmp_path / "untrained")
    loaded = load_base(tiny, settings_with().model)
    attach(loaded, {"finetuned": read_adapter(tmp_path / "untrained")})
    with pytest.raises(AdapterError, match="untrained has no effect"):
        prove_sound(loaded)


def test_an_adapter_that_cannot_be_switched_off_is_found(pair: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    layer: Any = next(module for name, module in pair.model.named_modules() if name.endswith("q_proj"))
    usual = layer.base_layer.forward
    monkeypatch.setattr(layer, "forward", lambda x: usual(x) + 0.1)
    with pytest.raises(ModelError, match="with its adapters off differs from the raw base"):
        prove_sound(pair)


def test_logits_that_are_no_numbers_are_an_error_of_whoever_makes_them(pair: LoadedModel) -> None:
    weights = dict(pair.model.named_parameters())
    next(weight for name, weight in weights.items() if "lora_B" in name).data.fill_(float("nan"))
    with pytest.raises(AdapterError, match=r"its logits are no numbers \(NaN\): the training diverged"):
        prove_sound(pair)
    next(weight for name, weight in weights.items() if "embed_tokens" in name).data.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"its logits are no numbers \(NaN\): weights are damaged"):
        prove_sound(pair)


def test_the_raw_base_holds_no_layer_of_peft_and_the_wrapped_one_comes_back(pair: LoadedModel) -> None:
    wrapped = [type(module) for module in pair.model.modules()]
    with raw_base(pair.model) as raw:
        assert not any(type(module).__module__.startswith("peft") for module in raw.modules())
    assert [type(module) for module in pair.model.modules()] == wrapped


@pytest.mark.parametrize("quantization", ["nf4", "none"])
def test_the_fingerprint_sees_a_changed_or_moved_weight(
    tiny: Source, settings_with: Callable[..., Settings], quantization: str
) -> None:
    model = load_base(tiny, settings_with(quantization=quantization).model).model
    before = fingerprint(model)
    assert fingerprint(model) == before
    weight = model.model.layers[1].mlp.down_proj.weight
    weight.data = weight.data.clone()
    moved = fingerprint(model)
    assert moved != before
    weight.data.copy_(torch.zeros_like(weight.data))
    assert fingerprint(model) not in {before, moved}
