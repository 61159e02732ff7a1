"""What memory a training will take by its own settings and rows, and what it takes while it runs."""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
import threading
from collections.abc import Callable
from typing import Literal, Self

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.models.fitting import known_architecture, plan_of, refuse_unfit_training
from pytest_llmbench.models.memory.estimate import Dtype, MemoryEstimate, TrainingPlan, estimate_training
from pytest_llmbench.models.memory.hardware import Hardware, detect
from pytest_llmbench.models.registry import Preset

_log = logging.getLogger("pytest_llmbench")

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>
_START_VALUE = 128 * 1024  # glibc's own, which it lets grow to 32 MB as blocks are freed
_MOST_HOLES = 1.7
_MOST_HOLES_RECOMPUTING = 5.1  # a layer's inside comes and goes between inputs that stay

_LOOK_EVERY_S = 0.02


def expected_memory(
    base: str,
    preset: Preset,
    device: Literal["auto", "cpu", "cuda"],
    *,
    double_quant: bool = True,
    compute_dtype: Dtype = "bfloat16",
    folder: str | None = None,
    answer_tokens: int | None = None,
    force: bool = False,
) -> int | None:
    """Bytes that the training is expected to hold at its fullest; None where the model's shapes are not known.

    Without a `folder` the registry is asked, so that a model that cannot fit is not downloaded first.

    Raises:
        NotReadyError: it does not fit, and is not forced; the message says what would.
    """
    from pytest_llmbench.finetune.trainer import has_bfloat16, training_dtype

    architecture = known_architecture(base, folder)
    if architecture is None:
        return None
    hardware = _hardware(device)
    precision: Literal["bfloat16", "float32"] = "bfloat16" if has_bfloat16(hardware.device) else "float32"
    plan = plan_of(
        preset,
        hardware.device,
        precision=precision,
        double_quant=double_quant,
        compute_dtype=training_dtype(compute_dtype, hardware.device),
        answer_tokens=answer_tokens,
    )
    estimate = estimate_training(architecture, plan)
    if not force:
        refuse_unfit_training(base, architecture, plan, hardware)
    if folder is not None:
        spare_memory_if_tight(estimate, plan, hardware)
    return estimate.total


def is_to_be_downloaded(base: str, revision: str | None) -> bool:
    """Whether it is a model of the hub whose shapes the registry knows, and that is not here."""
    from pytest_llmbench.models.registry import load_registry
    from pytest_llmbench.models.sources import cached, locate

    entry, location = load_registry().find(base), locate(base)
    return bool(entry and entry.architecture) and location.kind == "hub" and cached(location.place, revision) is None


def _hardware(device: Literal["auto", "cpu", "cuda"]) -> Hardware:
    if device == "cpu":
        return Hardware.of_cpu()
    found = detect()
    if device == "cuda" and found.device != "cuda":
        raise NotReadyError("model.device: cuda, but there is no NVIDIA GPU here; take auto", names=("model.device",))
    return found


def spare_memory_if_tight(estimate: MemoryEstimate, plan: TrainingPlan, hardware: Hardware) -> bool:
    """Call `return_freed_memory` when the estimate fits into the room but its heap with holes might not."""
    holes = _MOST_HOLES_RECOMPUTING if plan.gradient_checkpointing else _MOST_HOLES
    if hardware.device == "cpu" and estimate.total * holes > hardware.room:
        _log.warning("little memory is free: freed memory is given back at once, which makes training slower")
        return return_freed_memory()
    return False


def return_freed_memory() -> bool:
    """For the rest of this process, map every block of 128 kB or more on its own: freeing it returns it.

    glibc keeps blocks below 32 MB in one heap. A training step frees large temporaries between activations that stay,
    and what is asked for next often does not fit into the holes: the process then holds 1.3 to 1.6 times what is in
    use, and with gradient checkpointing up to 5 times.
    The process then holds what is in use, for a fifth to a half more CPU time, spent on fresh pages. False where the
    C library has no such setting; nothing changes then.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _START_VALUE))


class PeakMemory:
    """Bytes held inside the block above what was held when it began; on a GPU, all that PyTorch has allocated there."""

    def __init__(self, device: str) -> None:
        self._on_gpu = device.startswith("cuda")
        self._done = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._start = self._most = 0

    def __enter__(self) -> Self:
        if self._on_gpu:
            import torch

            for index in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(index)
            return self
        self._start = self._most = _in_use()
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_gpu:
            import torch

            self._most = sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
            return
        self._done.set()
        self._looking.join()

    @property
    def bytes(self) -> int:
        """The most, once the block has ended."""
        return self._most - self._start

    def _look(self) -> None:
        while not self._done.wait(_LOOK_EVERY_S):
            self._most = max(self._most, _in_use())


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>, glibc 2.33 and later."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _in_use() -> int:
    """Bytes that the C library has given out, PyTorch's CPU tensors among them; elsewhere resident memory.

    Resident memory would count the holes in the C library's heap too.
    """
    ask = _mallinfo2()
    if ask is None:
        return _resident()
    told = ask()
    return int(told.uordblks + told.hblkhd)


@functools.cache
def _mallinfo2() -> Callable[[], _Mallinfo2] | None:
    if not sys.platform.startswith("linux"):
        return None
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        return None
    ask.restype = _Mallinfo2
    return ask  # type: ignore[no-any-return]


def _resident() -> int:
    """Bytes of this process in memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def held(device: str) -> int:
    """Bytes that the process holds now, or that PyTorch holds on the GPUs."""
    if not device.startswith("cuda"):
        return _resident()
    import torch

    return sum(torch.cuda.memory_allocated(index) for index in range(torch.cuda.device_count()))
