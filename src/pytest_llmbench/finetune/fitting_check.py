"""Before a training: the memory that it will take; refused when it will not fit."""

from __future__ import annotations

from typing import Literal

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.models.fitting import known_architecture, plan_of, refuse_unfit
from pytest_llmbench.models.memory.allocator import spare_memory_if_tight
from pytest_llmbench.models.memory.estimate import estimate_training
from pytest_llmbench.models.memory.hardware import Hardware, detect
from pytest_llmbench.models.registry import Preset


def expected_memory(
    base: str,
    preset: Preset,
    device: Literal["auto", "cpu", "cuda"],
    *,
    folder: str | None = None,
    answer_tokens: int | None = None,
    force: bool = False,
) -> int | None:
    """Bytes that the training is expected to hold at its fullest; None where the model's shapes are not known.

    Without a `folder` the registry is asked, so that a model that cannot fit is not downloaded first; one that is here
    already is looked at later, with its rows.

    Raises:
        NotReadyError: it does not fit, and is not forced; the message says what would.
    """
    from pytest_llmbench.finetune.trainer import has_bfloat16

    if folder is None:
        if not _is_to_be_downloaded(base):
            return None
        answer_tokens = 1  # the rows are not counted yet: refuse only what cannot fit at all
    architecture = known_architecture(base, folder)
    if architecture is None:
        return None
    hardware = _hardware(device)
    precision: Literal["bfloat16", "float32"] = "bfloat16" if has_bfloat16(hardware.device) else "float32"
    plan = plan_of(preset, hardware.device, precision=precision, answer_tokens=answer_tokens)
    estimate = estimate_training(architecture, plan)
    if not force:
        refuse_unfit(base, architecture, plan, hardware)
    if folder is not None:
        spare_memory_if_tight(estimate, plan, hardware)
    return estimate.total


def _is_to_be_downloaded(base: str) -> bool:
    """Whether it is a model of the hub whose shapes the registry knows, and that is not here."""
    from pytest_llmbench.models.hub import cached
    from pytest_llmbench.models.registry import load_registry
    from pytest_llmbench.models.sources import locate

    entry, location = load_registry().find(base), locate(base)
    return bool(entry and entry.architecture) and location.kind == "hub" and cached(location.place, None) is None


def _hardware(device: Literal["auto", "cpu", "cuda"]) -> Hardware:
    if device == "cpu":
        import psutil

        return Hardware("cpu", "the CPU's free memory", psutil.virtual_memory().available)
    found = detect()
    if device == "cuda" and found.device != "cuda":
        raise NotReadyError("model.device: cuda, but there is no NVIDIA GPU here; take auto", names=("model.device",))
    return found
