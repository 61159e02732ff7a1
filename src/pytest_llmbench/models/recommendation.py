"""Which models of the registry can be trained in the memory there is, which are worth it, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.models.fitting import describe, in_gb_down, plan_on, what_would_fit
from pytest_llmbench.models.memory.architecture import Architecture, read_architecture
from pytest_llmbench.models.memory.estimate import (
    TrainingPlan,
    estimate_inference,
    estimate_training,
    in_gb,
    largest_batch,
)
from pytest_llmbench.models.memory.hardware import Hardware
from pytest_llmbench.models.memory.weights import GIB
from pytest_llmbench.models.registry import ModelEntry, Preset, Task

Verdict = Literal["recommended", "fits", "refused"]

_OF_A_FAMILY = 2  # the best one, and a lighter one beside it
_LOWEST_QUALITY = 1
_LARGEST_ON_CPU = 2_000_000_000  # parameters


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What is said of one model. `needed` is in bytes at the given batch, by the `basis`; None when nobody knows.

    A batch below the preset's goes with more accumulation, so that a step still sees as many rows. 0 when refused.
    """

    entry: ModelEntry
    verdict: Verdict
    reason: str
    basis: Literal["estimate", "registry", "unknown"]
    needed: int | None
    batch_size: int
    gradient_accumulation: int

    @property
    def needed_gb(self) -> float | None:
        """In the GB that its reason is in: of 2^30 bytes by an estimate, of the registry's figure where it is that."""
        if self.basis == "registry":
            return self.entry.vram_gb
        return self.needed / GIB if self.needed else None


def recommended_models(
    registry: Mapping[str, ModelEntry], hardware: Hardware, task: Task | None = None
) -> list[Choice]:
    """A choice for every model, recommended ones first, then by quality, speed and size.

    A model fits by its memory estimate, or where its architecture is not known by the registry's `vram_gb`. Of those
    that fit without going below that figure, the best two of each family are recommended.
    """
    choices = [_judge(entry, hardware, task) for entry in registry.values()]
    settled = [choice for choice in choices if choice.verdict != "recommended"]
    for family in _families(choice for choice in choices if choice.verdict == "recommended"):
        settled += _settled(family)
    order = {"recommended": 0, "fits": 1, "refused": 2}
    return sorted(settled, key=lambda choice: (order[choice.verdict], *_rank(choice.entry)))


def _rank(entry: ModelEntry) -> tuple[int, int, int]:
    """Smaller is better: quality, then speed; of equals the larger model."""
    return -(entry.quality or 0), -(entry.speed or 0), -(entry.parameters or 0)


def _families(choices: Iterable[Choice]) -> list[list[Choice]]:
    """The choices by family, the best of each first."""
    families: dict[str, list[Choice]] = {}
    for choice in sorted(choices, key=lambda one: (-(one.entry.quality or 0), -(one.entry.parameters or 0))):
        families.setdefault(choice.entry.family or choice.entry.alias, []).append(choice)
    return list(families.values())


def _settled(family: list[Choice]) -> Iterator[Choice]:
    """The first two stay recommended, each with its place in the family; the rest merely fits."""
    best, kin = family[0].entry.alias, family[0].entry.family
    for place, choice in enumerate(family):
        reason = f"the best {kin} that fits" if place == 0 else f"lighter than {best}"
        if place >= _OF_A_FAMILY:
            reason = f"{best} of its family is better and fits too"
        verdict: Verdict = "recommended" if place < _OF_A_FAMILY else "fits"
        alone = len(family) == 1
        told = choice.reason if alone else f"{choice.reason}; {reason}"
        yield dataclasses.replace(choice, verdict=verdict, reason=told)


def _judge(entry: ModelEntry, hardware: Hardware, task: Task | None) -> Choice:
    preset = entry.preset(task)
    if task == "chat" and not entry.chat_template:
        return _refused(entry, "unknown", None, "has no chat template; it suits the task completion")
    if entry.architecture:
        try:
            return _by_estimate(entry, preset, hardware)
        except ModelError as error:  # a task of the registry that suits other models than this one
            return _refused(entry, "unknown", None, str(error))
    if entry.vram_gb is None:
        return _refused(
            entry, "unknown", None, "the registry gives neither architecture nor vram_gb, so nothing is known"
        )
    needed = int(entry.vram_gb * 1e9)
    if entry.vram_gb > hardware.label_gb:
        there = int(hardware.label_gb * 10) / 10
        reason = f"needs {entry.vram_gb:g} GB by the registry's figure, {there:g} GB is there"
        return _refused(entry, "registry", needed, reason)
    reason = f"needs {entry.vram_gb:g} GB by the registry's figure (its architecture is not given)"
    return _accepted(entry, preset, "registry", needed, preset.batch_size, reason)


def _by_estimate(entry: ModelEntry, preset: Preset, hardware: Hardware) -> Choice:
    architecture = read_architecture(entry.architecture, f"{entry.source}: model {entry.alias!r}")
    plan = plan_on(preset, hardware)
    batch = largest_batch(architecture, plan, hardware.room)
    if not batch:
        smallest = estimate_training(architecture, dataclasses.replace(plan, batch_size=1)).total
        reason = (
            f"needs {in_gb(smallest)} even with one row a step (estimated), {in_gb_down(hardware)} is there"
            f"{_way_out(architecture, plan, hardware.room)}"
        )
        return _refused(entry, "estimate", smallest, reason)
    needed = estimate_training(architecture, dataclasses.replace(plan, batch_size=batch)).total
    reason = f"estimated {in_gb(needed)} with {batch} x {plan.max_length} tokens"
    if batch < preset.batch_size:
        reason += f" (the preset's {preset.batch_size} would not fit; accumulate {_accumulation(preset, batch)})"
    choice = _accepted(entry, preset, "estimate", needed, batch, reason)
    if hardware.device == "cpu" and architecture.parameters > _LARGEST_ON_CPU:
        return dataclasses.replace(choice, verdict="fits", reason=f"{reason}, but a CPU would train it for days")
    if hardware.device == "cuda" and (entry.vram_gb or 0) > hardware.label_gb:
        short = f"{reason}, but by experience it asks for {entry.vram_gb:g} GB"
        return dataclasses.replace(choice, verdict="fits", reason=short)
    return choice


def _way_out(architecture: Architecture, plan: TrainingPlan, room: int) -> str:
    """What would make room for at least one row, as the end of a sentence."""
    if ways := what_would_fit(architecture, plan, room):
        return f"; would fit with {describe(ways[0])}"
    answering = estimate_inference(architecture, batch_size=1, context=plan.max_length, device=plan.device)
    return "; in 4 bits it can answer here, not train" if answering.total <= room else ""


def _accepted(
    entry: ModelEntry, preset: Preset, basis: Literal["estimate", "registry"], needed: int, batch: int, reason: str
) -> Choice:
    verdict: Verdict = "recommended"
    if (entry.quality or _LOWEST_QUALITY + 1) <= _LOWEST_QUALITY:
        verdict, reason = "fits", f"{reason}; quality 1 of 5: {entry.limitation or 'quick tests only'}"
    return Choice(entry, verdict, reason, basis, needed, batch, _accumulation(preset, batch))


def _accumulation(preset: Preset, batch: int) -> int:
    """How many batches make a step that sees at least as many rows as the preset's."""
    return -(-preset.batch_size * preset.gradient_accumulation // batch)


def _refused(
    entry: ModelEntry, basis: Literal["estimate", "registry", "unknown"], needed: int | None, reason: str
) -> Choice:
    return Choice(entry, "refused", reason, basis, needed, 0, 0)
