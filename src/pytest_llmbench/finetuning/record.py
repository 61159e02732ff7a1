"""What is written beside an adapter: where it came from, how its training went, and a README that says so."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.adapters import TRAINING_RECORD

if TYPE_CHECKING:
    from pytest_llmbench.training.sft import Training

_LIBRARIES = ("pytest-llmbench", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes")


def outcome(training: Training, estimate: int | None) -> dict[str, Any]:
    """The measured part of a training's record. Memory is in bytes; `estimate` is what was expected of it."""
    last = training.steps[-1] if training.steps else None
    gradients = training.gradients
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": training.hyperparameters.seed,
        "hyperparameters": dataclasses.asdict(training.hyperparameters),
        "device": str(training.model.device),
        "precision": training.precision,
        "resumed_at_step": training.resumed_at or None,
        "sessions": [dataclasses.asdict(session) for session in training.sessions],
        "duration_s": round(training.seconds, 1),
        "samples_per_s": round(training.samples / training.seconds, 3) if training.seconds else None,
        "train_loss": training.train_loss,
        "token_accuracy": last and last.token_accuracy,
        "entropy": last and last.entropy,
        "tokens": last and last.tokens,
        "trainable_parameters": training.trainable_parameters,
        "trainable_share": training.trainable_parameters / training.parameters,
        "peak_memory_bytes": training.peak_memory,
        "estimated_memory_bytes": estimate,
        "gradients": {
            "matrices": len(gradients),
            "without": [name for name, peak in gradients.items() if not peak],
            "smallest": min(gradients.values(), default=None),
            "largest": max(gradients.values(), default=None),
        },
        "steps": [dataclasses.asdict(step) for step in training.steps],
        "versions": _versions(),
    }


def _versions() -> dict[str, str | None]:
    installed: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed[name] = None
    return installed


def write_record(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Write the record and a README for people into an adapter's folder."""
    text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    (folder / TRAINING_RECORD).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(_readme(name, record), encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the adapter in a folder.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    path = folder / TRAINING_RECORD
    if not path.is_file():
        raise UsageError(f"{folder} has no {TRAINING_RECORD}; give a folder that `llmbench finetune` wrote")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not valid JSON ({error}); train or copy the adapter again") from error
    if not isinstance(record, dict):
        raise UsageError(f"{path}: not a training record; train or copy the adapter again")
    return record


def _readme(name: str, record: Mapping[str, Any]) -> str:
    return f"""# {name}

A LoRA adapter for `{record["base_spec"]}`, trained on the {record["dataset"]["rows"]} rows of \
`{record["dataset"]["name"]}` with seed {record["seed"]}:

```
{record["command"]}
```

`{TRAINING_RECORD}` holds the hashes of base and data, the versions of the libraries and the course of the training.
"""
