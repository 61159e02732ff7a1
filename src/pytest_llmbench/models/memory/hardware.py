"""What memory this machine has for a model: its largest GPU's, else the CPU's."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pytest_llmbench.models.memory.weights import GIB


@dataclasses.dataclass(frozen=True, slots=True)
class Hardware:
    """Where a model would run. `room` is in bytes: a GPU's whole memory, or what the CPU has free now."""

    device: Literal["cpu", "cuda"]
    name: str
    room: int

    @classmethod
    def with_vram(cls, gb: float) -> Hardware:
        """A GPU whose label says so many GB."""
        return cls("cuda", f"a GPU with {gb:g} GB", int(gb * GIB))

    @property
    def gb(self) -> float:
        """The room in GB of 2^30 bytes, as cards are labelled."""
        return self.room / GIB


def detect() -> Hardware:
    """The GPU with the most memory, asked of the driver and not of PyTorch, which takes seconds; else the CPU."""
    import psutil

    return max(_gpus(), key=lambda gpu: gpu.room, default=None) or Hardware(
        "cpu", "the CPU's free memory", psutil.virtual_memory().available
    )


def _gpus() -> list[Hardware]:
    """Every NVIDIA GPU that nvidia-ml-py tells of, or PyTorch where that package is missing; none without a driver."""
    try:
        import pynvml
    except ImportError:
        return _gpus_of_torch()
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [
            Hardware("cuda", _text(pynvml.nvmlDeviceGetName(one)), int(pynvml.nvmlDeviceGetMemoryInfo(one).total))
            for one in handles
        ]
    except pynvml.NVMLError:
        return []


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _gpus_of_torch() -> list[Hardware]:
    """PyTorch is asked only where there is a driver's device file: without one its import would be for nothing."""
    from pathlib import Path

    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return []
    try:
        from pytest_llmbench.models.memory.weights import gpu_memory

        return [Hardware("cuda", gpu.name, gpu.total) for gpu in gpu_memory()]
    except ImportError:
        return []
