"""What memory this machine has for a model: its largest GPU's, else the CPU's."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any, Literal

from pytest_llmbench.core.machine import available_memory
from pytest_llmbench.models.memory.weights import GIB

_BFLOAT16 = (8, 0)  # the first compute capability with instructions for it


@dataclasses.dataclass(frozen=True, slots=True)
class Hardware:
    """Where a model would run. `room` is in bytes: a GPU's whole memory, or what the CPU has free now.

    `label` are the GB that the GPU was told by, where it was not asked. A GPU that `emulates_bfloat16` is one before
    compute capability 8.0 (T4, V100, RTX 20).
    """

    device: Literal["cpu", "cuda"]
    name: str
    room: int
    label: float | None = None
    emulates_bfloat16: bool = False

    @classmethod
    def with_vram(cls, gb: float) -> Hardware:
        """A GPU whose label says so many GB; for estimates, of 2^30 bytes."""
        return cls("cuda", f"a GPU with {gb:g} GB", int(gb * GIB), gb)

    @classmethod
    def of_cpu(cls) -> Hardware:
        """The CPU, with what is free of its memory, or of the container's."""
        return cls("cpu", "the CPU's free memory", available_memory())

    @property
    def gb(self) -> float:
        """The room in GB of 2^30 bytes, as estimates are told."""
        return self.room / GIB

    @property
    def label_gb(self) -> float:
        """The room in the GB of `vram_gb`: those of the label, or of 10^9 bytes, of which cards have as many."""
        return self.room / 1e9 if self.label is None else self.label


def detect() -> Hardware:
    """The GPU with the most memory, asked of the driver and not of PyTorch, which takes seconds; else the CPU."""
    return max(_gpus(), key=lambda gpu: gpu.room, default=None) or Hardware.of_cpu()


def may_have_gpu() -> bool:
    """Whether a GPU of any maker may be here, also where no library is installed that could tell of it.

    A container or another program's environment sees it all the same.
    """
    from pathlib import Path

    files = ("nvidia*", "kfd", "dxg")  # of the drivers of NVIDIA, AMD, and of Windows beneath WSL
    return (
        sys.platform == "darwin"
        or shutil.which("nvidia-smi") is not None
        or any(file for pattern in files for file in Path("/dev").glob(pattern))
    )


def _gpus() -> list[Hardware]:
    """Every visible NVIDIA GPU that nvidia-ml-py tells of, or PyTorch where that is missing; none without a driver."""
    try:
        import pynvml
    except ImportError:
        return _gpus_of_torch()
    try:
        pynvml.nvmlInit()
        if _numbered_by_cuda(pynvml) and (found := _gpus_of_torch()):
            return found
        return [
            Hardware(
                "cuda",
                _text(pynvml.nvmlDeviceGetName(one)),
                int(pynvml.nvmlDeviceGetMemoryInfo(one).total),
                emulates_bfloat16=_capability(pynvml, one) < _BFLOAT16,
            )
            for one in _visible(pynvml)
        ]
    except pynvml.NVMLError:
        return []


def _capability(pynvml: Any, handle: Any) -> tuple[int, int]:
    """The GPU's compute capability; a part of one (MIG), of which drivers may not tell it, has what bfloat16 takes."""
    try:
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    except pynvml.NVMLError:
        return _BFLOAT16
    return major, minor


def _numbered_by_cuda(pynvml: Any) -> bool:
    """Whether CUDA_VISIBLE_DEVICES may count the GPUs otherwise than the driver does.

    CUDA counts the fastest first unless CUDA_DEVICE_ORDER is PCI_BUS_ID; among GPUs of one kind that is the driver's
    order.
    """
    told = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    numbered = any(name.strip().isdecimal() for name in told.split(","))
    if not numbered or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return False
    handles = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
    return len({_text(pynvml.nvmlDeviceGetName(one)) for one in handles}) > 1


def _visible(pynvml: Any) -> Iterator[Any]:
    """The driver's handles of the GPUs that CUDA_VISIBLE_DEVICES leaves to this process; the driver tells of all.

    As CUDA reads it: numbers, or the beginnings of UUIDs, up to the first that is none; so nothing where it is empty.
    """
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is None:
        yield from handles
        return
    for name in map(str.strip, told.split(",")):
        if name.startswith("MIG-"):  # a part of a GPU, which has a handle and memory of its own
            yield pynvml.nvmlDeviceGetHandleByUUID(name)
        elif name.isdecimal() and int(name) < len(handles):
            yield handles[int(name)]
        elif name.startswith("GPU-"):
            yield from (one for one in handles if _text(pynvml.nvmlDeviceGetUUID(one)).startswith(name))
        else:
            return


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _gpus_of_torch() -> list[Hardware]:
    """PyTorch is asked only where there is a driver's device file: without one its import would be for nothing."""
    from pathlib import Path

    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return []
    try:
        from pytest_llmbench.models.memory.weights import gpu_memory

        return [
            Hardware("cuda", gpu.name, gpu.total, emulates_bfloat16=gpu.capability < _BFLOAT16) for gpu in gpu_memory()
        ]
    except ImportError:
        return []
