"""The models to choose from, with what fits this machine, and what a training will take before it is started."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.core.errors import ModelError, UsageError, WrongModelError
from pytest_llmbench.models.fitting import describe, known_architecture, plan_on, what_would_fit
from pytest_llmbench.models.memory.estimate import MemoryEstimate, TrainingPlan, estimate_training
from pytest_llmbench.models.memory.hardware import Hardware, detect
from pytest_llmbench.models.memory.weights import GIB
from pytest_llmbench.models.recommendation import Choice, recommended_models
from pytest_llmbench.models.registry import TASKS, ModelEntry, Preset, Registry, load_registry
from pytest_llmbench.studio.options import StudioOptions

_FRESH_S = 2.0
_COMFORTABLE = 0.8
"""A training that takes less of the room than this fits; more is tight: other programs want memory too."""

Fits = Literal["fits", "tight", "does_not_fit", "unknown"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class Machine(_Document):
    """Where models run here: the largest GPU, or the CPU with the memory that is free now, in GB of 2^30 bytes."""

    device: Literal["cpu", "cuda"]
    name: str = Field(examples=["the CPU's free memory"])
    memory_gb: float


class Fit(_Document):
    """Whether training a model with its preset fits, and why. `needed_gb` is what the preset's batch takes."""

    verdict: Fits
    why: str
    needed_gb: float | None
    available_gb: float


class ModelCard(_Document):
    """A model of the registry. `presets` are its training settings by task, `default` where none is chosen."""

    id: str = Field(examples=["smollm2-135m"])
    name: str = Field(examples=["SmolLM2 135M Instruct"])
    vram_required_gb: float | None
    quality_rating: int | None = Field(ge=1, le=5)
    speed_rating: int | None = Field(ge=1, le=5)
    batch_size: int
    max_length: int
    learning_rate: float
    description: str
    fit: Fit
    recommended: bool
    hub: str
    family: str
    parameters: int | None
    context: int | None = Field(description="tokens that it reads")
    licence: str
    gated: bool = Field(description="the hub gives it only to those who accepted its licence")
    chat_template: bool
    limitation: str
    presets: dict[str, Preset]


class AvailableModels(_Document):
    """All models, those that are worth it on this machine first."""

    models: tuple[ModelCard, ...]
    machine: Machine


class Hyperparameters(_Document):
    """What a request changes of a model's preset."""

    task: Literal["chat", "completion", "classification"] | None = None
    num_epochs: float | None = Field(default=None, gt=0, le=1e6)
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    gradient_accumulation: int | None = Field(default=None, ge=1, le=4096)
    max_length: int | None = Field(default=None, ge=8, le=1_000_000)
    rank: int | None = Field(default=None, ge=1, le=1024)
    quantization: Literal["nf4", "none"] | None = None
    gradient_checkpointing: bool | None = None
    targets: str | None = Field(default=None, description="layers that get a LoRA, with commas, or all-linear")
    steps: int | None = Field(default=None, ge=1, description="end after so many, whatever the epochs say")


class Memory(_Document):
    """Bytes that a training takes, by part, and whether they are there. `would_fit` are lighter ways that fit."""

    verdict: Fits
    why: str
    total_bytes: int | None
    available_bytes: int
    parts: dict[str, int]
    would_fit: tuple[str, ...] = ()


class Duration(_Document):
    """Steps of a training and its seconds; None, with the reason, where nothing was measured to tell them by."""

    steps: int | None
    tokens: int | None
    seconds: float | None
    basis: str


class Estimate(_Document):
    """What a training will take. `preset` is what was chosen, in full."""

    model: str
    preset: Preset
    memory: Memory
    duration: Duration


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """What is known of a dataset's size: rows, and the mean characters of prompt and answer together."""

    count: int
    characters: float


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second that a training reached on this machine: which job, of which model."""

    tokens_per_s: float
    job: int
    model: str


class Models:
    """The registry beside this machine, looked at again every two seconds: memory comes and goes."""

    def __init__(self, options: StudioOptions) -> None:
        self._options = options
        self._told: tuple[float, AvailableModels, bytes] | None = None

    def available(self) -> AvailableModels:
        """Every model with its fit. Raises UsageError where the project's registry is wrong."""
        return self._fresh()[0]

    def available_json(self) -> bytes:
        """The same as it is sent: fifty browsers that ask at once wait for one look."""
        return self._fresh()[1]

    def estimate(self, name: str, chosen: Hyperparameters, rows: Rows | None, speed: Speed | None) -> Estimate:
        """What a training takes on this machine.

        Raises:
            WrongModelError: the model is not in the registry, and others are not allowed.
            UsageError: a setting is of no use for it.
        """
        entry = load_registry().find(name)
        if entry is None and not self._options.allow_any_model:
            raise WrongModelError(
                f"{name!r:.80} is not in the registry; choose from {', '.join(load_registry())}", names=("model_name",)
            )
        preset = _chosen(load_registry().preset(name, chosen.task), chosen)
        return Estimate(
            model=entry.alias if entry else name,
            preset=preset,
            memory=_memory(entry, name, preset, _machine()),
            duration=_duration(load_registry(), entry, preset, rows, speed, chosen.steps),
        )

    def _fresh(self) -> tuple[AvailableModels, bytes]:
        now = time.monotonic()
        if self._told is None or now - self._told[0] > _FRESH_S:
            found = _available(load_registry(), _machine())
            self._told = now, found, found.model_dump_json().encode()
        return self._told[1], self._told[2]


def _machine() -> Hardware:
    """What `detect` says; the CPU's free memory is read anew, since it is all that changes."""
    hardware = detect()
    return hardware if hardware.device == "cuda" else Hardware.of_cpu()


def _available(registry: Registry, hardware: Hardware) -> AvailableModels:
    choices = recommended_models(registry, hardware)
    return AvailableModels(
        models=tuple(_card(choice, hardware) for choice in choices),
        machine=Machine(device=hardware.device, name=hardware.name, memory_gb=round(hardware.gb, 2)),
    )


def _card(choice: Choice, hardware: Hardware) -> ModelCard:
    entry = choice.entry
    preset = entry.preset()
    return ModelCard(
        id=entry.alias,
        name=entry.name,
        vram_required_gb=entry.vram_gb,
        quality_rating=entry.quality,
        speed_rating=entry.speed,
        batch_size=preset.batch_size,
        max_length=preset.max_length,
        learning_rate=preset.learning_rate,
        description=entry.description,
        fit=_fit(choice, preset, hardware),
        recommended=choice.verdict == "recommended",
        hub=entry.hub,
        family=entry.family,
        parameters=entry.parameters,
        context=entry.context.native if entry.context else _positions(entry),
        licence=entry.licence,
        gated=entry.gated,
        chat_template=entry.chat_template,
        limitation=entry.limitation,
        presets={"default": preset, **{task: entry.preset(task) for task in TASKS}},
    )


def _positions(entry: ModelEntry) -> int | None:
    return entry.architecture.get("max_position_embeddings") or entry.architecture.get("n_positions")


def _fit(choice: Choice, preset: Preset, hardware: Hardware) -> Fit:
    needed = choice.needed_gb
    return Fit(
        verdict=_verdict(choice, preset, hardware),
        why=choice.reason,
        needed_gb=round(needed, 2) if needed is not None else None,
        available_gb=round(hardware.gb, 2),
    )


def _verdict(choice: Choice, preset: Preset, hardware: Hardware) -> Fits:
    if choice.needed is None:
        return "unknown"
    if choice.verdict == "refused":
        return "does_not_fit"
    by_experience = hardware.device == "cuda" and (choice.entry.vram_gb or 0) > hardware.label_gb
    is_tight = choice.batch_size < preset.batch_size or choice.needed > _COMFORTABLE * hardware.room or by_experience
    return "tight" if is_tight else "fits"


def _chosen(preset: Preset, chosen: Hyperparameters) -> Preset:
    changes = chosen.model_dump(exclude_none=True, exclude={"task", "steps"})
    if "num_epochs" in changes:
        changes["epochs"] = changes.pop("num_epochs")
    if (targets := changes.get("targets")) is not None and targets != "all-linear":
        changes["targets"] = tuple(part.strip() for part in targets.split(",") if part.strip())
        if not changes["targets"]:
            raise UsageError("targets: name layers, such as q_proj,v_proj, or take all-linear", names=("targets",))
    return preset.model_copy(update=changes)


def _memory(entry: ModelEntry | None, name: str, preset: Preset, hardware: Hardware) -> Memory:
    folder = None if entry else _folder(name)
    architecture = known_architecture(name, folder) if entry or folder else None
    if architecture is None:
        why = "its architecture is not in the registry, so its memory is not estimated"
        return Memory(verdict="unknown", why=why, total_bytes=None, available_bytes=hardware.room, parts={})
    plan = plan_on(preset, hardware)
    try:
        estimate = estimate_training(architecture, plan)
    except ModelError as error:
        raise UsageError(f"targets: {error}", names=("targets",)) from error
    verdict, why = _judged(estimate, plan, hardware)
    ways = what_would_fit(architecture, plan, hardware.room) if verdict == "does_not_fit" else []
    return Memory(
        verdict=verdict,
        why=why,
        total_bytes=estimate.total,
        available_bytes=hardware.room,
        parts=dict(estimate.parts),
        would_fit=tuple(map(describe, ways)),
    )


def _folder(name: str) -> Path | None:
    folder = Path(name).expanduser()
    return folder if (folder / "config.json").is_file() else None


def _judged(estimate: MemoryEstimate, plan: TrainingPlan, hardware: Hardware) -> tuple[Fits, str]:
    told = f"{describe(plan)} takes about {estimate.total / GIB:.2f} GB of the {hardware.gb:.2f} GB of {hardware.name}"
    if estimate.total > hardware.room:
        return "does_not_fit", told
    return ("tight" if estimate.total > _COMFORTABLE * hardware.room else "fits"), told


_CHARACTERS_A_TOKEN = 3.0  # about, where no tokenizer counts; as the dataset check has it


def _duration(
    registry: Registry,
    entry: ModelEntry | None,
    preset: Preset,
    rows: Rows | None,
    speed: Speed | None,
    most_steps: int | None,
) -> Duration:
    if rows is None:
        return Duration(steps=None, tokens=None, seconds=None, basis="choose a dataset to see the time")
    at_once = preset.batch_size * preset.gradient_accumulation
    whole = max(1, round(-(-rows.count // at_once) * preset.epochs))
    steps = most_steps or whole
    row_tokens = min(preset.max_length, rows.characters / _CHARACTERS_A_TOKEN)
    tokens = round(rows.count * preset.epochs * row_tokens * steps / whole)
    if speed is None:
        basis = "no training was measured on this machine yet; the first one tells the time of the next"
        return Duration(steps=steps, tokens=tokens, seconds=None, basis=basis)
    seconds, basis = _seconds(registry, entry, tokens, speed)
    return Duration(steps=steps, tokens=tokens, seconds=seconds, basis=basis)


def _seconds(registry: Registry, entry: ModelEntry | None, tokens: int, speed: Speed) -> tuple[float | None, str]:
    """By the speed of an earlier training: of the same model as it was, of another by the ratio of parameters."""
    measured = registry.find(speed.model)
    if entry is not None and measured is not None and measured.alias == entry.alias:
        return round(tokens / speed.tokens_per_s, 1), f"{speed.tokens_per_s:.0f} tokens/s, as in job {speed.job}"
    if entry is None or measured is None or not (entry.parameters and measured.parameters):
        return None, f"only job {speed.job} with {speed.model} was measured, and the sizes of both are not known"
    scaled = speed.tokens_per_s * measured.parameters / entry.parameters
    told = f"about {scaled:.0f} tokens/s: job {speed.job} with {speed.model}, by the ratio of their parameters"
    return round(tokens / scaled, 1), told


def newest_speed(jobs: Sequence[Any], model: str) -> Speed | None:
    """The speed of the newest training of the model, else of any."""
    speeds = [found for job in jobs if (found := _speed(job)) is not None]
    return next((one for one in speeds if one.model == model), next(iter(speeds), None))


def _speed(job: Any) -> Speed | None:
    progress: Mapping[str, Any] = job.progress or {}
    reached = progress.get("tokens_per_s")
    return Speed(float(reached), job.id, job.model) if job.kind == "finetune" and reached and job.model else None
