"""Refuses a training that does not fit the memory, and says what would fit instead."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.core.documents import read_text
from pytest_llmbench.core.errors import ModelError, NotReadyError, UsageError, located
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.machine import has_bfloat16
from pytest_llmbench.models.hashing import weight_files
from pytest_llmbench.models.memory.architecture import Architecture, read_architecture
from pytest_llmbench.models.memory.estimate import (
    Dtype,
    Precision,
    TrainingPlan,
    estimate_training,
    largest_batch,
)
from pytest_llmbench.models.memory.hardware import Hardware
from pytest_llmbench.models.registry import Preset, load_registry

_log = logging.getLogger("pytest_llmbench")


def known_architecture(name: str, folder: Path | str | None = None) -> Architecture | None:
    """The shapes of a model by the `config.json` in its folder, else by the registry; None, with a warning, if unknown.

    A folder whose weights are stored quantized (FP8, AWQ, GPTQ and others) has their size from its files.

    Raises:
        ModelError: its description lacks a field.
        UsageError: a file is unreadable.
    """
    config = Path(folder) / "config.json" if folder else None
    if config and config.is_file():
        fields, where = config_fields(config), str(config)
    elif (entry := load_registry().find(name)) and entry.architecture:
        fields, where = entry.architecture, entry.source
    else:
        _log.warning(N_("%s: its architecture is not at hand, so its memory is not estimated"), name)
        return None
    try:
        architecture = read_architecture(fields, where)
        size = _bytes_of_files(Path(folder)) if folder and fields.get("quantization_config") else 0
    except ModelError as error:
        _log.warning(N_("%s; it is not estimated"), error)
        return None
    return dataclasses.replace(architecture, files=size)


def _bytes_of_files(folder: Path) -> int:
    return sum(path.stat().st_size for path in weight_files(folder))


def config_fields(path: Path) -> Any:
    """The fields of a model's `config.json` as transformers reads it: `Infinity`, which JSON has not, stands in some.

    Raises:
        UsageError: it is unreadable.
    """
    try:
        fields = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(located(path, getattr(error, "lineno", None), f"not valid JSON: {error}")) from error
    return fields if isinstance(fields, dict) else {}


def plan_of(
    preset: Preset,
    device: Literal["cpu", "cuda"],
    *,
    precision: Precision | None = None,
    double_quant: bool = True,
    compute_dtype: Dtype = "bfloat16",
    answer_tokens: int | None = None,
) -> TrainingPlan:
    """The training that a preset means, every row at its longest and, unless `answer_tokens` says less, all answer.

    Without a `precision` it is what trainings compute in here: float32 on a CPU without instructions for bfloat16. A
    GPU that computes in float32 has the base in it too instead of bfloat16.
    """
    precision = precision or ("bfloat16" if device == "cuda" or has_bfloat16() else "float32")
    emulated = device == "cuda" and precision == "float32" and compute_dtype == "bfloat16"
    return TrainingPlan(
        batch_size=preset.batch_size,
        max_length=preset.max_length,
        rank=preset.rank,
        targets=preset.targets,
        quantization=preset.quantization,
        double_quant=double_quant,
        compute_dtype="float32" if emulated else compute_dtype,
        device=device,
        precision=precision,
        gradient_checkpointing=preset.gradient_checkpointing,
        answer_tokens=answer_tokens,
    )


def plan_on(preset: Preset, hardware: Hardware) -> TrainingPlan:
    """The training that a preset means on this hardware: in float32 where bfloat16 would be emulated."""
    return plan_of(preset, hardware.device, precision="float32" if hardware.emulates_bfloat16 else None)


def refuse_unfit_training(name: str, architecture: Architecture, plan: TrainingPlan, hardware: Hardware) -> None:
    """Let pass what fits.

    Raises:
        NotReadyError: it does not; the message has the estimate by part, the largest batch that would fit, or else
            what has to change, and says how to try all the same.
    """
    estimate = estimate_training(architecture, plan)
    if estimate.total <= hardware.room:
        return
    ways = what_would_fit(architecture, plan, hardware.room)
    fits = (
        f"{' or '.join(map(describe, ways))} would fit"
        if ways
        else "no smaller setting of it would fit; choose a smaller model"
    )
    raise NotReadyError(
        f"training {name} with {describe(plan)} needs about {estimate} and {hardware.name} has {in_gb_down(hardware)}; "
        f"{fits}; force tries it all the same",
        names=("force",),
    )


def what_would_fit(architecture: Architecture, plan: TrainingPlan, room: int) -> list[TrainingPlan]:
    """Plans near to this one that fit: a smaller batch, and the first lighter way that keeps most of the batch."""
    found = []
    if batch := largest_batch(architecture, plan, room):
        found.append(dataclasses.replace(plan, batch_size=batch))
    for way in ways_out(plan):
        batch = largest_batch(architecture, way, room)
        if batch > max((one.batch_size for one in found), default=0):
            found.append(dataclasses.replace(way, batch_size=batch))
            break
    return found


def ways_out(plan: TrainingPlan) -> list[TrainingPlan]:
    """What needs less memory than the plan, the least loss first: checkpointing, 4 bits, both, then shorter rows."""
    lighter = dataclasses.replace(plan, gradient_checkpointing=True)
    packed = dataclasses.replace(plan, quantization="nf4")
    both = dataclasses.replace(lighter, quantization="nf4")
    halves = (dataclasses.replace(both, max_length=plan.max_length // part) for part in (2, 4))
    candidates = (lighter, packed, both, *(half for half in halves if half.max_length))
    return [way for way in dict.fromkeys(candidates) if way != plan]


def describe(plan: TrainingPlan) -> str:
    """A plan's batch, length and savings: `1 x 512 tokens, nf4, gradient checkpointing`."""
    stored = "unquantized" if plan.quantization == "none" else plan.quantization
    words = [f"{plan.batch_size} x {plan.max_length} tokens", stored]
    return ", ".join([*words, *(["gradient checkpointing"] if plan.gradient_checkpointing else [])])


def in_gb_down(hardware: Hardware) -> str:
    """The room, rounded down where `in_gb` rounds needs up, so that the two never look alike when it is too little."""
    return f"{int(hardware.gb * 10) / 10:.1f} GB"
