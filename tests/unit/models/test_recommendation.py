"""What is recommended for how much memory, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nvml import nvml

from pytest_llmbench.models.fitting import plan_on
from pytest_llmbench.models.memory.hardware import Hardware, detect
from pytest_llmbench.models.memory.weights import GIB, GpuMemory
from pytest_llmbench.models.recommendation import Choice, recommended_models
from pytest_llmbench.models.registry import Registry, Task, load_registry

REGISTRY = load_registry()


def _choices(gb: float, task: Task | None = None, registry: Registry = REGISTRY) -> dict[str, Choice]:
    return {choice.entry.alias: choice for choice in recommended_models(registry, Hardware.with_vram(gb), task)}


@pytest.mark.parametrize(
    ("gb", "wanted"),
    [
        (2, {"distilgpt2", "gpt2"}),
        (4, {"gpt2", "gpt2-medium"}),
        (6, {"gpt2-medium", "gpt2-large"}),
        (8, {"gpt2-large", "gpt2-xl"}),
        (12, {"llama2-7b", "mistral-7b"}),
    ],
)
def test_the_references_table_of_hardware_comes_out(gb: float, wanted: set[str]) -> None:
    recommended = {alias for alias, choice in _choices(gb).items() if choice.verdict == "recommended"}
    assert wanted <= recommended


def test_phi_2_is_refused_on_6_gb_as_in_the_reference_and_what_would_fit_is_said() -> None:
    choice = _choices(6)["phi-2"]
    assert choice.verdict == "refused"
    assert "6.3 GB even with one row" in choice.reason
    assert "would fit with 1 x 512 tokens, nf4" in choice.reason


def test_a_batch_that_would_not_fit_is_made_smaller_with_more_accumulation() -> None:
    choice = _choices(2)["gpt2"]
    assert (choice.batch_size, choice.gradient_accumulation) == (3, 6)
    assert "the preset's 8 would not fit; accumulate 6" in choice.reason


def test_below_the_figure_of_experience_a_model_fits_but_is_not_recommended() -> None:
    choice = _choices(6)["mistral-7b"]
    assert choice.verdict == "fits"
    assert "by experience it asks for 12 GB" in choice.reason


def test_the_model_with_made_up_dialogues_is_never_recommended() -> None:
    assert _choices(24)["tinyllama"].verdict == "fits"
    assert "made-up dialogues" in _choices(24)["tinyllama"].reason


def test_models_without_a_chat_template_are_refused_for_chat_alone() -> None:
    assert "no chat template" in _choices(6, "chat")["gpt2"].reason
    assert _choices(6, "completion")["gpt2"].verdict != "refused"


def test_a_model_of_unknown_architecture_is_judged_by_the_registrys_figure(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models: {mine: {hub: me/mine, vram_gb: 3}, bare: {hub: me/bare}}")
    choices = _choices(4, registry=load_registry(path))
    assert (choices["mine"].verdict, choices["mine"].basis) == ("recommended", "registry")
    assert "3 GB by the registry's figure" in choices["mine"].reason
    assert (choices["bare"].verdict, choices["bare"].basis) == ("refused", "unknown")
    assert choices["mine"].needed_gb == 3
    assert _choices(2, registry=load_registry(path))["mine"].verdict == "refused"
    assert _choices(3, registry=load_registry(path))["mine"].verdict == "recommended"
    refused = _choices(2.9, registry=load_registry(path))["mine"]
    assert (refused.verdict, refused.needed_gb) == ("refused", 3)
    assert refused.reason == "needs 3 GB by the registry's figure, 2.9 GB is there"
    asked = Hardware("cuda", "a T4", 3 * 10**9)  # the driver tells bytes
    assert recommended_models(load_registry(path), asked)[0].verdict == "recommended"


def test_a_gpu_that_emulates_bfloat16_is_reckoned_with_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml(1))
    assert detect().emulates_bfloat16
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml(2))
    assert not detect().emulates_bfloat16
    modern, old = (Hardware("cuda", "a GPU", 16 * GIB, emulates_bfloat16=emulates) for emulates in (False, True))
    needs = [
        {one.entry.alias: one.needed or 0 for one in recommended_models(REGISTRY, gpu)}["qwen2.5-1.5b"]
        for gpu in (modern, old)
    ]
    assert needs[1] > 1.3 * needs[0]
    preset = REGISTRY["qwen2.5-1.5b"].preset()
    assert (plan_on(preset, old).compute_dtype, plan_on(preset, old).precision) == ("float32", "float32")


def test_the_gb_of_a_label_are_those_of_the_registry() -> None:
    assert "by experience it asks for 24 GB" in _choices(23)["qwen3-30b-a3b"].reason
    assert "by experience" not in _choices(24)["qwen3-30b-a3b"].reason


def test_large_models_are_not_recommended_on_a_cpu() -> None:
    choices = {one.entry.alias: one for one in recommended_models(REGISTRY, Hardware("cpu", "the CPU", 64 * GIB))}
    assert choices["smollm2-135m"].verdict == "recommended"
    assert "a CPU would train it for days" in choices["mistral-7b"].reason


@settings(max_examples=40)
@given(gb=st.floats(0.5, 100), more=st.floats(0, 50))
def test_more_memory_never_refuses_what_fitted(gb: float, more: float) -> None:
    larger = _choices(gb + more)
    for alias, choice in _choices(gb).items():
        if choice.verdict != "refused":
            assert larger[alias].verdict != "refused"
            assert larger[alias].batch_size >= choice.batch_size


def test_the_largest_gpu_is_taken_else_the_memory_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0")]))
    found = [GpuMemory(0, "small", 0, 0, 4 * GIB), GpuMemory(1, "large", 0, 0, 8 * GIB)]
    monkeypatch.setattr("pytest_llmbench.models.memory.weights.gpu_memory", lambda: found)
    assert detect() == Hardware("cuda", "large", 8 * GIB)
    found.clear()
    assert detect().device == "cpu"


@pytest.mark.parametrize(
    ("visible", "largest"),
    [("0", 4), ("1,0", 8), ("GPU-2c", 8), ("0,-1,2", 4), ("0,9,2", 4), (" 2 ", 12), ("", None), ("-1", None)],
)
def test_a_gpu_that_is_hidden_from_this_process_has_no_memory_for_it(
    monkeypatch: pytest.MonkeyPatch, visible: str, largest: int | None
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml(3))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert detect().room == 12 * GIB
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = detect()
    assert (found.room // GIB if found.device == "cuda" else None) == largest


@pytest.mark.parametrize(
    ("order", "visible", "found"), [(None, "0", 12), ("PCI_BUS_ID", "0", 4), (None, "GPU-1", 4), (None, None, 12)]
)
def test_gpus_of_several_kinds_are_numbered_as_cuda_does_the_fastest_first(
    monkeypatch: pytest.MonkeyPatch, order: str | None, visible: str | None, found: int
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", nvml(3))
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0")]))
    fastest = [GpuMemory(0, "GPU 3", 0, 0, 12 * GIB)]
    monkeypatch.setattr("pytest_llmbench.models.memory.weights.gpu_memory", lambda: fastest)
    for name, value in (("CUDA_DEVICE_ORDER", order), ("CUDA_VISIBLE_DEVICES", visible)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert detect().room == found * GIB


def test_a_card_that_holds_what_its_label_says_holds_what_a_model_asks_for() -> None:
    card = Hardware("cuda", "NVIDIA L4, sold as 24 GB", 23034 * 2**20)
    choices = {one.entry.alias: one for one in recommended_models(REGISTRY, card)}
    assert REGISTRY["qwen3-30b-a3b"].vram_gb == 24
    assert choices["qwen3-30b-a3b"].verdict == "recommended", choices["qwen3-30b-a3b"].reason


def test_a_task_that_does_not_suit_a_model_refuses_that_model_alone(tmp_path: Path) -> None:
    shapes = "vocab_size: 99, num_hidden_layers: 2, hidden_size: 64, num_attention_heads: 4, intermediate_size: 128"
    path = tmp_path / "models.yaml"
    path.write_text(
        "tasks: {chat: {targets: [q_proj]}}\nmodels:\n"
        f"  wide: {{hub: a/b, architecture: {{model_type: llama, {shapes}}}}}\n"
        f"  old: {{hub: a/c, architecture: {{model_type: gpt2, n_positions: 512, {shapes}}}}}\n"
    )
    choices = _choices(6, "chat", load_registry(path))
    assert choices["wide"].verdict == "recommended"
    assert choices["old"].verdict == "refused"
    assert "no linear layer is called 'q_proj'" in choices["old"].reason
