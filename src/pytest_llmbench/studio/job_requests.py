"""What can be asked for as a job, and which settings a training then has."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.models.registry import Task

_Count = Annotated[int, Field(ge=1)]
_NOT_FOR_THE_TRAINER = {"dataset_id", "model_name", "validation_dataset_id", "task"}
_OTHER_NAMES = {"num_epochs": "epochs"}


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StartFinetuning(_Request):
    """A training. What is left out comes from the model's preset for the task."""

    dataset_id: str
    model_name: str
    validation_dataset_id: str | None = None
    task: Task | None = None
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    num_epochs: Annotated[float, Field(gt=0, le=1e6)] | None = None
    batch_size: _Count | None = None
    max_length: Annotated[int, Field(ge=8)] | None = None
    gradient_accumulation: _Count | None = None
    gradient_checkpointing: bool | None = None
    rank: _Count | None = None
    alpha: _Count | None = None
    dropout: Annotated[float, Field(ge=0, le=0.9)] | None = None
    targets: Literal["all-linear"] | tuple[str, ...] | None = None
    warmup_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    quantization: Literal["nf4", "none"] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    steps: _Count | None = None
    save_steps: _Count | None = None


class StartBenchmark(_Request):
    """The main job on a finished training: base against adapter, with the gate."""

    limit: _Count | None = None
    epochs: _Count | None = None


class StartAutotune(_Request):
    """How many users a server on this machine holds."""

    server: str
    server_model: str | None = None
    latency: Annotated[float, Field(gt=0)] | None = None
    max_users: _Count | None = None


def chosen_settings(request: StartFinetuning, model: str) -> dict[str, Any]:
    """Every hyper-parameter: those of the request, else those of the preset. Raises UsageError."""
    from pytest_llmbench.finetune.request import FinetuneRequest

    given = request.model_dump(exclude_none=True, exclude=_NOT_FOR_THE_TRAINER)
    changes = {_OTHER_NAMES.get(name, name): value for name, value in given.items()}
    asked = FinetuneRequest(Path(), Path(), model, task=request.task, changes=changes)
    preset, hyperparameters = asked.settled()
    return {"task": request.task, "quantization": preset.quantization, **dataclasses.asdict(hyperparameters)}
