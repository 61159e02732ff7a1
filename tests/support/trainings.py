"""Trainings to compare, as their records tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_llmbench.finetune.comparison import Trained
from pytest_llmbench.runs.training_record import TrainingRecord

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
TRAINED = [
    Trained("tiny", Path("tiny"), TrainingRecord.model_validate(RECORD)),
    Trained("qwen", Path("qwen"), TrainingRecord.model_validate(OTHER)),
]
