from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model
from safetensors.torch import load_file, save_file
from support.tiny_models import save_adapter

from pytest_llmbench.core.errors import AdapterError, ModelError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models import adapter_loading, loading
from pytest_llmbench.models.adapter_loading import attach
from pytest_llmbench.models.adapters import Adapter, read_adapter
from pytest_llmbench.models.loaded import LoadedModel
from pytest_llmbench.models.loading import load_base
from pytest_llmbench.models.sources import Source

PROMPT = torch.tensor([[0, 1, 2, 3]])


@pytest.fixture
def load(tiny: Source, settings_with: Callable[..., Settings]) -> Callable[[str], LoadedModel]:
    return lambda quantization: load_base(tiny, settings_with(quantization=quantization).model)


@pytest.fixture
def adapter(adapter_folder: Path) -> Adapter:
    return read_adapter(adapter_folder)


def logits(loaded: LoadedModel, variant: str) -> torch.Tensor:
    with torch.no_grad(), loaded.speaking_as(variant) as model:
        answer: torch.Tensor = model(PROMPT).logits
    return answer


def test_layers_without_room_on_the_gpu_are_announced_and_take_no_adapter(
    load: Callable[[str], LoadedModel],
    adapter: Adapter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    places |= {"model.rotary_emb": "cpu", "lm_head": "cpu"}
    usual = loading._model
    monkeypatch.setattr(
        loading,
        "_model",
        lambda *given, **how: dispatch_model(
            usual(*given, **how), places, main_device="cpu", offload_dir=str(tmp_path)
        ),
    )
    loaded = load("none")
    assert "weights lie off the GPU and are brought there in every step" in caplog.text
    with pytest.raises(ModelError, match=r"weights \(model\.layers\.1\..*lie off the GPU, .*quantization: nf4"):
        attach(loaded, {"finetuned": adapter})


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
def test_the_base_answers_as_a_base_that_was_loaded_alone(
    load: Callable[[str], LoadedModel], adapter: Adapter, quantization: str
) -> None:
    alone, pair = load(quantization), load(quantization)
    attach(pair, {"finetuned": adapter})
    assert torch.equal(logits(pair, "base"), logits(alone, "base"))
    assert not torch.equal(logits(pair, "finetuned"), logits(pair, "base"))
    assert torch.equal(logits(pair, "base"), logits(alone, "base"))


def test_adapters_of_any_name_share_one_base(
    load: Callable[[str], LoadedModel], adapter: Adapter, tiny_folder: Path, tmp_path: Path
) -> None:
    save_adapter(tiny_folder, tmp_path / "lora", r=2, init_lora_weights=False, modules_to_save=["lm_head"])
    loaded = load("none")
    attach(loaded, {"v1.5": adapter, "lora": read_adapter(tmp_path / "lora")})
    assert loaded.variants == ("base", "v1.5", "lora")
    answers = [logits(loaded, variant) for variant in loaded.variants]
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[1], answers[2])
    assert all(torch.equal(logits(loaded, each), before) for each, before in zip(loaded.variants, answers, strict=True))


def test_an_exception_while_speaking_leaves_no_trace(load: Callable[[str], LoadedModel], adapter: Adapter) -> None:
    loaded = load("none")
    attach(loaded, {"finetuned": adapter})
    before = [logits(loaded, variant) for variant in loaded.variants]
    hooks = [module._forward_pre_hooks for module in loaded.model.modules() if module._forward_pre_hooks]
    for variant in loaded.variants:
        with pytest.raises(ZeroDivisionError), loaded.speaking_as(variant):
            raise ZeroDivisionError
    assert [module._forward_pre_hooks for module in loaded.model.modules() if module._forward_pre_hooks] == hooks
    assert all(torch.equal(logits(loaded, each), was) for each, was in zip(loaded.variants, before, strict=True))


def test_an_unknown_variant_is_a_key_error(load: Callable[[str], LoadedModel]) -> None:
    with pytest.raises(KeyError, match="nobody"), load("none").speaking_as("nobody"):
        pass


def test_wrapping_after_the_first_answer_is_refused_where_that_answer_repacked_the_weights(
    load: Callable[[str], LoadedModel], adapter: Adapter
) -> None:
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("only CPUs with AVX512-BF16 repack")
    loaded = load("nf4")
    logits(loaded, "base")
    with pytest.raises(ValueError, match="before the first answer"):
        attach(loaded, {"finetuned": adapter})


def test_a_base_that_wrapping_changed_is_found(
    load: Callable[[str], LoadedModel], adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(loaded: LoadedModel, *_: object) -> None:
        loaded.model.model.layers[0].mlp.up_proj.weight.data += 1

    monkeypatch.setattr(adapter_loading, "_load", careless)
    with pytest.raises(
        AdapterError, match=r"random \(LORA\) changes the weights of tiny-llama.*merge it into its base"
    ):
        attach(load("none"), {"finetuned": adapter})


def edited(adapter: Adapter, folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Adapter:
    shutil.copytree(adapter.path, folder)
    weights = load_file(folder / adapter.weights_file)
    change(weights)
    save_file(weights, folder / adapter.weights_file)
    return read_adapter(folder)


def first(weights: dict[str, torch.Tensor]) -> str:
    return next(iter(weights))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.update({first(weights): torch.zeros(3, 3)}), "size mismatch"),
        (lambda weights: weights.pop(first(weights)), "1 weights have no counterpart"),
        (
            lambda weights: weights.update({first(weights).replace("layers.0", "layers.7"): torch.zeros(4, 64)}),
            r"1 weights have no counterpart \(.*layers\.7",
        ),
    ],
)
def test_weights_that_do_not_belong_on_the_base_are_refused(
    load: Callable[[str], LoadedModel],
    adapter: Adapter,
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], None],
    message: str,
) -> None:
    wrong = edited(adapter, tmp_path / "wrong", change)
    with pytest.raises(AdapterError, match=f"does not fit tiny-llama: {message}"):
        attach(load("none"), {"finetuned": wrong})


def test_an_adapter_of_another_architecture_is_refused(
    load: Callable[[str], LoadedModel], adapter: Adapter, tmp_path: Path
) -> None:
    folder = tmp_path / "gpt"
    shutil.copytree(adapter.path, folder)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace("q_proj", "c_attn").replace("v_proj", "c_proj"))
    with pytest.raises(AdapterError, match=r"Target modules .* not found in the base model"):
        attach(load("none"), {"finetuned": read_adapter(folder)})


def test_a_bin_adapter_loads_and_one_with_code_in_it_does_not(
    load: Callable[[str], LoadedModel], adapter: Adapter, tmp_path: Path
) -> None:
    folder = tmp_path / "bin"
    shutil.copytree(adapter.path, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(weights, folder / "adapter_model.bin")
    plain, pickled = load("none"), load("none")
    attach(pickled, {"finetuned": read_adapter(folder)})
    attach(plain, {"finetuned": adapter})
    assert torch.equal(logits(plain, "finetuned"), logits(pickled, "finetuned"))

    torch.save({**weights, "code": _Evil(tmp_path / "ran")}, folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match="holds more than weights and is not trusted"):
        attach(load("none"), {"finetuned": read_adapter(folder)})
    assert not (tmp_path / "ran").exists()


@dataclasses.dataclass
class _Evil:
    path: Path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)
