"""What will not fit is refused before it is loaded, and told what would."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Literal

import pytest

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.finetune.memory import return_freed_memory, spare_memory_if_tight
from pytest_llmbench.models.fitting import describe, known_architecture, plan_of, refuse_unfit_training, what_would_fit
from pytest_llmbench.models.memory.architecture import Architecture, read_architecture
from pytest_llmbench.models.memory.estimate import MemoryEstimate, TrainingPlan, estimate_training
from pytest_llmbench.models.memory.hardware import Hardware
from pytest_llmbench.models.registry import load_registry

ROOM = Hardware.with_vram(6)


@pytest.fixture
def mistral() -> Architecture:
    return read_architecture(load_registry()["mistral-7b"].architecture, "mistral-7b")


def test_a_training_that_fits_passes(mistral: Architecture) -> None:
    refuse_unfit_training("mistral-7b", mistral, plan_of(load_registry()["mistral-7b"].preset(), "cuda"), ROOM)


def test_one_that_does_not_is_refused_with_the_largest_batch_that_would(mistral: Architecture) -> None:
    plan = TrainingPlan(8, 512, rank=16, device="cuda", gradient_checkpointing=True)
    with pytest.raises(NotReadyError) as refused:
        refuse_unfit_training("mistral-7b", mistral, plan, ROOM)
    message = str(refused.value)
    assert message.startswith("training mistral-7b with 8 x 512 tokens, nf4, gradient checkpointing needs about 7.")
    assert "has 6.0 GB; 3 x 512 tokens, nf4, gradient checkpointing" in message
    assert message.endswith("would fit; force tries it all the same")
    assert refused.value.names == ("force",)


def test_what_would_fit_does_fit(mistral: Architecture) -> None:
    plan = TrainingPlan(8, 512, quantization="none", device="cuda")
    ways = what_would_fit(mistral, plan, ROOM.room)
    assert [way.quantization for way in ways] == ["nf4"]
    assert all(estimate_training(mistral, way).total <= ROOM.room for way in ways)


def test_where_nothing_would_fit_a_smaller_model_is_advised(mistral: Architecture) -> None:
    with pytest.raises(NotReadyError, match="choose a smaller model"):
        refuse_unfit_training("mistral-7b", mistral, TrainingPlan(1, 512, device="cuda"), Hardware.with_vram(2))


def test_the_folders_own_config_tells_more_than_the_registry(tmp_path: Path) -> None:
    fields = {**load_registry()["qwen3-0.6b"].architecture, "num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    found = known_architecture("qwen3-0.6b", tmp_path)
    assert found is not None
    assert found.layers == 3
    assert known_architecture("Qwen/Qwen3-0.6B") == dataclasses.replace(found, layers=28)


def test_weights_that_are_stored_quantized_are_as_large_as_their_files(tmp_path: Path) -> None:
    fields = {**load_registry()["qwen3-0.6b"].architecture, "quantization_config": {"quant_method": "fp8"}}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert known_architecture("mine", tmp_path) is None  # nothing tells of their size
    (tmp_path / "model.safetensors").write_bytes(bytes(12345))
    found = known_architecture("mine", tmp_path)
    assert found is not None
    ways: tuple[Literal["nf4", "none"], ...] = ("nf4", "none")
    for quantization in ways:
        parts = estimate_training(found, TrainingPlan(1, 64, quantization=quantization)).parts
        assert parts["weight files"] == 12345
        assert not {"linear layers", "embeddings"} & set(parts)


def test_an_unknown_architecture_is_announced_not_guessed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        assert known_architecture("mine", tmp_path) is None
        assert known_architecture("org/unheard-of") is None
    assert ["mamba" in caplog.messages[0], "org/unheard-of" in caplog.messages[1]] == [True, True]


def test_a_cpu_without_instructions_for_bfloat16_trains_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = load_registry()["smollm2-135m"].preset()
    found = {}
    for flags in ("avx2", "avx2 avx512_bf16"):
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
        monkeypatch.setattr("pytest_llmbench.core.machine._PROCESSORS", tmp_path / "cpuinfo")
        found[flags] = (plan_of(preset, "cpu").precision, plan_of(preset, "cuda").precision)
    assert found == {"avx2": ("float32", "bfloat16"), "avx2 avx512_bf16": ("bfloat16", "bfloat16")}
    assert plan_of(preset, "cpu", precision="float32").precision == "float32"


def test_a_plan_is_told_in_a_few_words() -> None:
    assert describe(TrainingPlan(2, 64, quantization="none")) == "2 x 64 tokens, unquantized"


@pytest.mark.parametrize(
    ("device", "recomputes", "used", "spares"),
    [
        ("cpu", False, 50, False),
        ("cpu", False, 70, True),
        ("cpu", True, 19, False),
        ("cpu", True, 50, True),
        ("cuda", False, 70, False),
    ],
)
def test_memory_is_spared_only_where_the_holes_of_the_heap_would_not_fit(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    recomputes: bool,  # noqa: FBT001
    used: int,
    spares: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr("pytest_llmbench.finetune.memory.return_freed_memory", lambda: True)
    hardware = Hardware(device, "this machine", 100)  # type: ignore[arg-type]  # one of its words
    plan = TrainingPlan(2, 64, gradient_checkpointing=recomputes)
    assert spare_memory_if_tight(MemoryEstimate({"weights": used}), plan, hardware) is spares


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not return_freed_memory()


def test_a_configuration_may_hold_numbers_that_json_has_not(tmp_path: Path) -> None:
    fields = json.dumps({**load_registry()["mistral-7b"].architecture, "time_step_limit": [0.0, float("inf")]})
    assert "Infinity" in fields
    (tmp_path / "config.json").write_text(fields, encoding="utf-8")
    assert known_architecture("any", tmp_path) == read_architecture(load_registry()["mistral-7b"].architecture, "x")
