from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.cli import app
from pytest_llmbench.errors import MissingRunError, UsageError
from pytest_llmbench.finetuning.comparison import draw_curves, notes, read_trainings, table
from pytest_llmbench.finetuning.history import find_training, save_training, worse_than

RECORD: dict[str, Any] = {
    "base_spec": "tinyllama",
    "base_weights_hash": "a",
    "dataset": {"name": "test.jsonl", "sha256": "d", "rows": 10},
    "duration_s": 144.0,
    "train_loss": 2.266,
    "token_accuracy": 0.610,
    "entropy": 2.012,
    "tokens": 700,
    "samples_per_s": 0.07,
    "trainable_parameters": 12_600_000,
    "trainable_share": 0.0113,
    "steps": [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}],
}
OTHER = {**RECORD, "base_spec": "qwen2.5:1.5b", "base_weights_hash": "b", "duration_s": 78.0, "train_loss": 3.652}
KEPT = {**RECORD, "quantization": "nf4", "hyperparameters": {}, "held_out": {str(n): True for n in range(20)}}


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = []
    for name, record in (("tiny", RECORD), ("qwen", OTHER)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "llmbench_training.json").write_text(json.dumps(record), encoding="utf-8")
        made.append(folder)
    return made


def test_trainings_stand_side_by_side_with_the_best_of_each_figure(folders: list[Path]) -> None:
    lines = {line.title: (*line.values, line.best) for line in table(read_trainings(folders))}
    assert lines["Duration"] == ("2 min 24 s", "1 min 18 s", "qwen")
    assert lines["Train loss"] == ("2.266", "3.652", "tiny")
    assert lines["Trainable"] == ("12.6M (1.13%)", "12.6M (1.13%)", "-")
    assert lines["Samples/s"][-1] == "-"


def test_the_table_speaks_french(folders: list[Path]) -> None:
    trainings = read_trainings(folders)
    assert [line.title for line in table(trainings, "fr")][2:5] == ["Durée", "Perte", "Précision par token"]
    assert notes(trainings, "fr")[0].startswith("base différents")


def test_curves_are_drawn(folders: list[Path], tmp_path: Path) -> None:
    draw_curves(read_trainings(folders), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_the_table_for_people_and_programs(
    folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(folder) for folder in folders]
    app(["compare-training", *names], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "| Train loss" in shown
    assert "Not the same base" in shown
    app(["compare-training", *names, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["adapters"] == ["tiny", "qwen"]


def test_one_training_cannot_be_compared(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two adapter folders"):
        read_trainings([folders[0], folders[0]])
    with pytest.raises(UsageError, match=r"has no llmbench_training\.json"):
        read_trainings([folders[0], tmp_path])


def test_a_kept_training_is_found_by_number_name_and_as_the_latest(tmp_path: Path) -> None:
    save_training(tmp_path, KEPT, "first one")
    path = save_training(tmp_path, {**KEPT, "train_loss": 1.0})
    assert path.name == "0002.json"
    assert find_training(tmp_path, "latest")["train_loss"] == 1.0
    assert find_training(tmp_path, "1") == find_training(tmp_path, "first-one")
    with pytest.raises(MissingRunError, match="there are: 0001_first-one, 0002"):
        find_training(tmp_path, "third")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"train_loss": 2.6}, "train loss 2.600 was 2.266: worse by more than 10%"),
        ({"token_accuracy": 0.5}, "token accuracy 50.0% was 61.0%: worse by more than 10%"),
        ({"held_out": {str(n): n > 9 for n in range(20)}}, "held-out routing 10 of 20 was 20: worse beyond chance"),
    ],
)
def test_a_worse_metric_is_told(change: dict[str, Any], fault: str) -> None:
    (told,) = worse_than(KEPT, {**KEPT, **change}, margin=0.1, alpha=0.05)
    assert told.startswith(fault)


def test_a_change_within_the_margin_is_fine() -> None:
    close = {**KEPT, "train_loss": 2.4, "held_out": {**KEPT["held_out"], "0": False}}
    assert worse_than(KEPT, close, margin=0.1, alpha=0.05) == []
