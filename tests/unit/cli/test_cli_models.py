"""`llmbench models`: what suits this machine, all about one model, and the memory it takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.command_line import llmbench

from pytest_llmbench.models.memory.hardware import Hardware
from pytest_llmbench.models.memory.weights import GIB


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_models_are_recommended_for_the_memory_that_is_given() -> None:
    shown = llmbench("models", "--vram", "6")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert "a GPU with 6 GB" in lines[0]
    assert any("✓" in line and "gpt2-large" in line for line in lines)
    assert any("✗" in line and "phi-2" in line for line in lines)


def test_programs_read_the_references_fields_with_verdict_and_reason() -> None:
    document = json.loads(llmbench("models", "--vram", "12", "--task", "chat", "--json").stdout)
    models = {model["id"]: model for model in document["models"]}
    mistral = models["mistral-7b"]
    assert (mistral["verdict"], mistral["basis"], mistral["vram_required_gb"]) == ("recommended", "estimate", 12.0)
    assert mistral["preset"]["learning_rate"] == 1e-4
    assert 5 * GIB < mistral["needed_bytes"] < 6 * GIB
    assert "no chat template" in models["gpt2"]["reason"]
    assert document["hardware"]["device"] == "cuda"


def test_without_a_figure_the_hardware_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.models.memory.hardware.detect", lambda: Hardware("cuda", "Test Card", 2 * GIB))
    assert "Test Card (2.0 GB)" in llmbench("models").stdout


def test_recommending_does_not_wait_for_torch() -> None:
    import subprocess

    code = "import sys; from pytest_llmbench.cli import app; app(['models', '--vram', '4'], standalone_mode=False)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; assert not {{'torch', 'transformers'}} & set(sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_one_model_is_told_whole_under_any_of_its_names() -> None:
    shown = llmbench("models", "show", "llama3.2:1b").stdout
    assert "meta-llama/Llama-3.2-1B-Instruct, gated" in shown
    assert "Llama 3.2 1B Instruct (llama3.2-1b, llama3.2:1b)" in shown
    preset = json.loads(llmbench("models", "show", "gpt2", "--task", "classification", "--json").stdout)["preset"]
    assert (preset["batch_size"], preset["max_length"]) == (16, 128)


def test_memory_without_end_is_refused() -> None:
    assert llmbench("models", "--vram", "inf").exit_code == 2


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    done = llmbench("models", "show", "qwen2.5-1.5")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "did you mean 'qwen2.5" in done.stderr


def test_a_users_own_model_is_known_from_yaml_alone(project: Path) -> None:
    (project / "configs").mkdir()
    registry = project / "configs/models.yaml"
    registry.write_text("models:\n  mine: {hub: me/mine, vram_gb: 3}\n")
    assert "me/mine" in llmbench("models", "show", "mine").stdout
    assert "mine" in llmbench("models", "--vram", "4").stdout
    registry.write_text("models:\n  mine: {hub: me/mine, vram: 3}\n")
    done = llmbench("models", "--vram", "4")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: configs/models.yaml:2: model 'mine': unknown key 'vram'; did you mean")


def test_memory_is_told_by_part_and_more_rows_take_more() -> None:
    shown = llmbench("models", "estimate", "mistral:7b", "--batch-size", "2", "--device", "cuda").stdout
    assert "2 x 512 tokens, nf4, gradient checkpointing, on a GPU" in shown
    totals = [
        json.loads(llmbench("models", "estimate", "gpt2", "--batch-size", str(size), "--json").stdout)["total_bytes"]
        for size in (1, 8)
    ]
    assert totals[0] < totals[1]


def test_answering_counts_keys_and_values_instead_of_gradients() -> None:
    parts = json.loads(llmbench("models", "estimate", "qwen3-30b-a3b", "--inference", "--json").stdout)["parts_bytes"]
    assert "KV cache" in parts
    assert "adapter, gradients and optimizer" not in parts


def test_a_folder_with_a_config_is_estimated_and_an_unknown_model_is_not(project: Path) -> None:
    fields = {"model_type": "llama", "vocab_size": 99, "hidden_size": 64, "intermediate_size": 128}
    fields |= {"num_hidden_layers": 2, "num_attention_heads": 4}
    (project / "own").mkdir()
    (project / "own/config.json").write_text(json.dumps(fields, indent="\t"))
    assert llmbench("models", "estimate", "own", "--device", "cpu").exit_code == 0
    done = llmbench("models", "estimate", "org/unheard-of")
    assert done.exit_code == 3
    assert "add its `architecture` to configs/models.yaml" in done.stderr
    (project / "own/config.json").write_text(json.dumps({**fields, "quantization_config": {"quant_method": "fp8"}}))
    done = llmbench("models", "estimate", "own")  # whose weights, which would tell their size, are not there
    assert (done.exit_code, "what its folder holds tells no memory" in done.stderr) == (3, True)


def test_rows_longer_than_the_context_are_refused_or_where_they_can_be_read_announced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = llmbench("models", "estimate", "gpt2", "--max-length", "2048")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "rows of 2048 tokens, but gpt2 reads at most 1024; give --max-length 1024" in done.stderr
    done = llmbench("models", "estimate", "smollm2-135m", "--max-length", "9000", "--batch-size", "1")
    assert done.exit_code == 0
    assert "smollm2-135m reads at most 8192" in caplog.text


def test_training_in_int8_is_estimated_but_said_to_be_no_way_to_train(caplog: pytest.LogCaptureFixture) -> None:
    options = ("models", "estimate", "gpt2", "--quantization", "int8")
    assert llmbench(*options, "--inference").exit_code == 0
    assert not caplog.text
    assert llmbench(*options).exit_code == 0
    assert "int8 is for answering" in caplog.text
