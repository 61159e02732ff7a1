"""An adapter's folder: its weights, where it came from, how its training went, and a README that says so."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.finetune.adapter_folder import new_adapter_folder
from pytest_llmbench.models.adapters import CHAT_TEMPLATE, TRAINING_RECORD, training_record

if TYPE_CHECKING:
    from pytest_llmbench.finetune.sft import Training
    from pytest_llmbench.models.prompt_form import PromptForm

_LIBRARIES = ("pytest-llmbench", "torch", "transformers", "peft", "trl", "datasets", "accelerate", "bitsandbytes")


def training_outcome(training: Training, estimate: int | None) -> dict[str, Any]:
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
        "validation": [dataclasses.asdict(validation) for validation in training.validations],
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


def save_adapter(training: Training, record: Mapping[str, Any], form: PromptForm, output: Path) -> None:
    """Write a trained adapter's folder, whole or not at all, with its record and a README for people.

    The form that its rows were written in goes beside it where the base has no template of its own.

    Raises:
        NotReadyError: the disk is full, or the folder cannot be written.
    """
    text = json.dumps(record, ensure_ascii=False, indent=2) + "\n"
    with new_adapter_folder(output) as folder:
        _save_weights(training, folder, base=record["base_spec"])
        if form.origin is None:
            (folder / CHAT_TEMPLATE).write_text(form.whole_template, encoding="utf-8")
        (folder / TRAINING_RECORD).write_text(text, encoding="utf-8")
        (folder / "README.md").write_text(_readme(output.name, record), encoding="utf-8")


def _save_weights(training: Training, folder: Path, *, base: str) -> None:
    import torch
    from peft import get_peft_model_state_dict

    model = training.model
    model.peft_config["default"].base_model_name_or_path = base
    # False: "auto" would ask the hub whether the base's vocabulary has grown
    trained = get_peft_model_state_dict(model, save_embedding_layers=False)
    halved = {key: weights.to(torch.float16) for key, weights in trained.items()}
    model.save_pretrained(folder, state_dict=halved, save_embedding_layers=False)


def read_record(folder: Path) -> dict[str, Any]:
    """The record of the adapter in a folder.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    if not (folder / TRAINING_RECORD).is_file():
        raise UsageError(f"{folder} has no {TRAINING_RECORD}; give a folder that `llmbench finetune` wrote")
    return training_record(folder)


def _readme(name: str, record: Mapping[str, Any]) -> str:
    return f"""# {name}

A LoRA adapter for `{record["base_spec"]}`, trained on the {record["dataset"]["rows"]} rows of \
`{record["dataset"]["name"]}` with seed {record["seed"]}:

```
{record["command"]}
```

`{TRAINING_RECORD}` holds the hashes of base and data, the versions of the libraries and the course of the training.
"""
