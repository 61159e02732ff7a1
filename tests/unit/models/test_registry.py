"""The registry: what is shipped, what a project adds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.models.registry import TASKS, Preset, load_registry

REFERENCE = {  # batch size, learning rate, VRAM, quality, speed
    "distilgpt2": (16, 5e-4, 1.5, 2, 5),
    "gpt2": (8, 3e-4, 2.0, 2, 5),
    "gpt2-medium": (4, 2e-4, 3.5, 3, 4),
    "gpt2-large": (2, 1e-4, 5.0, 4, 3),
}


@pytest.mark.parametrize("alias", REFERENCE)
def test_the_reference_models_keep_their_figures(alias: str) -> None:
    entry = load_registry()[alias]
    preset = entry.training
    figures = (preset.batch_size, preset.learning_rate, entry.vram_gb, entry.quality, entry.speed)
    assert figures == REFERENCE[alias]
    assert preset.max_length == 512


def test_every_shipped_model_is_described_and_has_a_preset_for_every_task() -> None:
    registry = load_registry()
    for entry in registry.values():
        assert all((entry.title, entry.family, entry.licence, entry.vram_gb, entry.quality, entry.description))
        assert {entry.preset(task).max_length for task in TASKS} >= {128}
    assert {"gpt2-xl", "mistral-7b", "llama2-7b", "phi-2", "qwen3-30b-a3b", "smollm2-135m"} <= set(registry)
    assert [registry[f"qwen3-{size}"].family for size in ("micro", "mini", "medium")] == ["qwen3"] * 3
    assert registry["llama3.2:1b"].gated


def test_a_model_goes_by_its_aliases_and_its_hub_id() -> None:
    registry = load_registry()
    entry = registry["qwen2.5-1.5b"]
    assert registry["qwen2.5:1.5b"] is entry
    assert registry.require("Qwen/Qwen2.5-1.5B-Instruct") is entry
    assert "qwen2.5:1.5b" in registry
    assert list(registry).count("qwen2.5-1.5b") == 1
    with pytest.raises(UsageError, match=r"no model 'qwen2\.5-1b'; did you mean 'qwen2\.5"):
        registry.require("qwen2.5-1b")


def test_a_task_changes_only_what_it_names_and_the_model_has_the_last_word(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        "tasks: {classification: {max_length: 128, epochs: 5.0}}\n"
        "models: {mine: {hub: me/mine, training: {rank: 4, max_length: 900}, tasks: {classification: {epochs: 1.0}}}}"
    )
    registry = load_registry(path)
    entry = registry["mine"]
    assert entry.preset() == Preset(rank=4, max_length=900)
    assert entry.preset("chat") == entry.preset()
    assert entry.preset("classification") == Preset(rank=4, max_length=128, epochs=1.0)
    assert registry.preset("me/mine", "classification") == entry.preset("classification")
    assert registry.preset("in/no-registry", "classification") == Preset(max_length=128, epochs=5.0)
    assert registry.preset("in/no-registry") == Preset()


def test_a_registry_is_read_again_once_its_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models.yaml"
    with pytest.raises(UsageError):
        load_registry(file)
    file.write_text("models: {mine: {hub: some/model}}")
    assert load_registry(file) is load_registry(file)
    file.write_text("models: {mine: {hub: some/other-model}}")
    assert load_registry(file)["mine"].hub == "some/other-model"
    (tmp_path / "elsewhere/configs").mkdir(parents=True)
    (tmp_path / "elsewhere/configs/models.yaml").write_text("models: {theirs: {hub: some/model}}")
    known = set(load_registry())
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert set(load_registry()) == known | {"theirs"}


def test_a_project_adds_models_in_yaml_alone_and_replaces_one_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/models.yaml").write_text("models:\n  mine: {hub: me/mine}\n  gpt2: {hub: me/gpt2}\n")
    shipped = load_registry()
    monkeypatch.chdir(tmp_path)
    registry = load_registry()
    assert set(registry) == {*shipped, "mine"}
    assert registry["gpt2"].hub == "me/gpt2"
    assert registry["mine"].source == "configs/models.yaml:2"
    assert registry["mine"].preset("classification").max_length == 128


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "the key `models`"),
        ("models:\n  fine: {hub: a/b}\n  bad: {title: x}\n", r"models\.yaml:3: model 'bad': needs the field `hub`"),
        (
            "models:\n  m:\n    hub: a/b\n    vramgb: 3\n",
            r"models\.yaml:4: model 'm': unknown key 'vramgb'; did you mean 'vram_gb'",
        ),
        (
            "models:\n  m:\n    hub: a/b\n    training:\n      batchsize: 3\n",
            r"models\.yaml:5: model 'm': unknown key 'batchsize'; did you mean 'batch_size'",
        ),
        ("models:\n  m:\n    hub: a/b\n    quality: 6\n", r"models\.yaml:4: model 'm': quality: 6 is not valid"),
        ("models:\n  m:\n    hub: a/b\n    speed: '5'\n", r"models\.yaml:4: model 'm': speed: '5' is not valid"),
        ("models:\n  m:\n    hub: a/b\n    tasks: {chatt: {}}\n", r":4: model 'm': unknown task 'chatt'; did you mean"),
        ("models:\n  m: {hub: not-an-id}\n", r"models\.yaml:2: model 'm': hub: 'not-an-id' is not valid"),
        ("models:\n  m: {hub: a/b, source: here}\n", "unknown key 'source'"),
        ("models:\n  m: {hub: a/b, training: {targets: 3}}\n", r"models\.yaml:2: model 'm': targets: 3"),
        ("", r"models\.yaml:1: a registry has the key `models`"),
        ("tasks: {}\nmodels: 3\n", r"models\.yaml:2: a registry has the key `models`"),
        ("models:\n  m: {hub: ./mine}\n", r"models\.yaml:2: model 'm': hub: './mine' .* give its folder"),
        (
            "models:\n  m: {hub: a/b}\n  n: {hub: a/b, aliases: [m]}\n",
            r"models\.yaml:3: model 'n': the alias 'm' already means 'm'",
        ),
    ],
)
def test_a_faulty_registry_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_registry(path)


SHAPES = "model_type: gpt2, n_embd: 64, n_layer: 2, n_head: 4, n_positions: 512, vocab_size: 99"
SOME_EXPERTS = "model_type: qwen3_moe, hidden_size: 64, num_attention_heads: 4, num_hidden_layers: 2, num_experts: 4"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["architecture:", "  model_type: gemma9"], r":5: model 'm': .*'gemma9' is not known; known are llama"),
        (
            [f"architecture: {{{SOME_EXPERTS}, mlp_only_layers: [0]}}"],
            r":4: model 'm': .*decoder_sparse_step\); leave `architecture` out",
        ),
        (["architecture: {model_type: llama, hidden_size: 8}"], ":4: model 'm': .* needs num_attention_heads"),
        (["architecture:", "  model_type: llama", "  head_dim: '8'"], ":6: model 'm': head_dim: '8' is not valid"),
        (
            [f"architecture: {{{SHAPES}}}", "training:", "  targets:", "    - c_fc", "    - foo_proj"],
            ":8: model 'm': targets: no linear layer is called 'foo_proj'; LoRA targets are c_attn",
        ),
        (
            [f"architecture: {{{SHAPES}}}", "tasks:", "  chat: {max_length: 900}"],
            ":6: model 'm': max_length: 900 is more than the 512 positions",
        ),
    ],
)
def test_shapes_and_what_contradicts_them_are_refused_when_read(
    tmp_path: Path, fields: list[str], message: str
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("\n".join(["models:", "  m:", "    hub: a/b", *(f"    {line}" for line in fields)]))
    with pytest.raises(UsageError, match=message):
        load_registry(path)
