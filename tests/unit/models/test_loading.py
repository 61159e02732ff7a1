from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from support.tiny_models import save, tiny_llama

from pytest_llmbench.core.errors import ModelError, NotReadyError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.models.loading import choose_device, load_base
from pytest_llmbench.models.quiet import quiet_libraries
from pytest_llmbench.models.sources import Source, resolve

Build = Callable[..., Settings]


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "copy"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("quantization", "dtype"), [("nf4", torch.bfloat16), ("int8", torch.bfloat16), ("none", torch.float32)]
)
def test_each_quantization_loads_and_answers_on_the_cpu(
    tiny: Source, settings_with: Build, quantization: str, dtype: torch.dtype
) -> None:
    loaded = load_base(tiny, settings_with(quantization=quantization).model)
    assert loaded.model.dtype == dtype
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    with torch.no_grad(), loaded.speaking_as("base") as model:
        assert model(torch.tensor([[0, 1, 2]])).logits.isfinite().all()


def test_nf4_is_configured_as_in_the_reference(tiny: Source, settings_with: Build) -> None:
    config = load_base(tiny, settings_with().model).model.config.quantization_config
    assert config.load_in_4bit
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype == torch.bfloat16


def test_the_tokenizer_pads_on_the_left_with_the_end_token_when_it_has_no_other(
    tiny: Source, settings_with: Build
) -> None:
    loaded = load_base(tiny, settings_with(quantization="none").model)
    batch = loaded.tokenizer(["ouvre", "monte le son"], padding=True)
    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id
    assert batch["attention_mask"] == [[0, 0, 1], [1, 1, 1]]


def test_layers_of_odd_shapes_answer_in_nf4_too(tmp_path: Path, settings_with: Build) -> None:
    odd = {"hidden_size": 48, "intermediate_size": 72, "num_attention_heads": 3, "num_key_value_heads": 3}
    save(tiny_llama(num_hidden_layers=1, initializer_range=0.02, **odd), tmp_path / "odd")
    loaded = load_base(resolve(str(tmp_path / "odd")), settings_with().model)
    with torch.no_grad():
        assert loaded.model(torch.tensor([[0, 1, 2]])).logits.isfinite().all()


def test_a_checkpoint_that_was_saved_quantized_is_loaded_as_it_is(
    tiny: Source, tmp_path: Path, settings_with: Build, caplog: pytest.LogCaptureFixture
) -> None:
    quantized = load_base(tiny, settings_with().model)
    with quiet_libraries():
        quantized.model.save_pretrained(tmp_path / "saved")
    quantized.tokenizer.save_pretrained(tmp_path / "saved")
    loaded = load_base(resolve(str(tmp_path / "saved")), settings_with(quantization="int8").model)
    assert loaded.quantization == "bitsandbytes"
    assert loaded.footprint < 1.1 * quantized.footprint
    assert "already quantized (bitsandbytes); model.quantization is not applied" in caplog.text


def test_the_fallback_to_the_cpu_is_announced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    assert "no CUDA device" in caplog.text


def test_cuda_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NotReadyError, match=r"model\.device is cuda, but PyTorch .* sees no CUDA device"):
        choose_device("cuda")


@pytest.mark.parametrize("kept", [4, 200, -100])
def test_corrupt_safetensors_are_told_with_what_to_do(
    tiny_folder: Path, tmp_path: Path, settings_with: Build, kept: int
) -> None:
    folder = copy_of(tiny_folder, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"a safetensors file is corrupt.*copy or download the folder again"):
        load_base(resolve(str(folder)), settings_with(quantization="none").model)


def test_weights_that_would_be_random_are_refused(tiny_folder: Path, tmp_path: Path, settings_with: Build) -> None:
    folder = copy_of(tiny_folder, tmp_path)
    edit(folder / "config.json", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"9 weights are missing \(model\.layers\.2"):
        load_base(resolve(str(folder)), settings_with(quantization="none").model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "from-the-future"}, "does not know this architecture; upgrade transformers"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}},
            "set model.trust_remote_code: true",
        ),
        ({"hidden_size": 32}, "cannot be loaded"),
        ({"tokenizer_class": 3, "hidden_act": "no-such-activation"}, "cannot be loaded"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_told(
    tiny_folder: Path, tmp_path: Path, settings_with: Build, changes: dict[str, object], message: str
) -> None:
    folder = copy_of(tiny_folder, tmp_path)
    edit(folder / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        load_base(resolve(str(folder)), settings_with(quantization="none").model)


def test_a_broken_config_file_is_told(tiny_folder: Path, tmp_path: Path, settings_with: Build) -> None:
    folder = copy_of(tiny_folder, tmp_path)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_base(resolve(str(folder)), settings_with(quantization="none").model)


def test_a_missing_tokenizer_is_told(tiny_folder: Path, tmp_path: Path, settings_with: Build) -> None:
    folder = copy_of(tiny_folder, tmp_path)
    for path in folder.glob("token*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_base(resolve(str(folder)), settings_with(quantization="none").model)


def test_a_model_larger_than_the_free_memory_is_not_loaded(
    tiny: Source, settings_with: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Full)
    with pytest.raises(ModelError, match=r"needs .* GiB for its weights and 0\.0 GiB is free.*nf4"):
        load_base(tiny, settings_with(quantization="none").model)


def test_a_model_that_takes_more_than_estimated_is_announced(
    tiny: Source, settings_with: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pytest_llmbench.models.loading.weights_by_class", lambda *_, **__: {"linear": 100_000})
    load_base(tiny, settings_with(quantization="none").model)
    assert "some of its weights were not quantized" in caplog.text


def test_loading_leaves_the_compiler_to_the_users_own_code(tiny_folder: Path) -> None:
    code = (
        "import os, sys; from pytest_llmbench.models.loading import load_base; "
        "from pytest_llmbench.models.sources import resolve; from pytest_llmbench.core.settings import ModelSettings; "
        f"load_base(resolve({str(tiny_folder)!r}), ModelSettings(base={str(tiny_folder)!r}, device='cpu')); "
        "print('torch._inductor.compile_fx' in sys.modules, os.environ.get('TORCHDYNAMO_DISABLE'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "None"]
