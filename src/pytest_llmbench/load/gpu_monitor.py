"""How busy this machine's NVIDIA GPUs are, told by the driver (NVML) through the optional package nvidia-ml-py."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Self

_log = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class GpuReading:
    """One look: the share of time (0 to 1) that each device computed, and the bytes in use on each."""

    utilization: tuple[float, ...]
    memory: tuple[int, ...]


class Gpus:
    """The devices of this machine. `read` takes milliseconds of waiting: call it beside an event loop, not in it."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self.names = tuple(_text(nvml.nvmlDeviceGetName(handle)) for handle in self._handles)

    @classmethod
    def found(cls) -> Self | None:
        """The GPUs, or None where nvidia-ml-py, the driver or a device is missing."""
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            gpus = cls(pynvml)
        except pynvml.NVMLError as error:
            _log.info("no GPU is watched: %s", error)
            return None
        return gpus if gpus.names else None

    def read(self) -> GpuReading | None:
        """One look at all devices; None when the driver does not tell (some do not, inside virtual machines)."""
        nvml = self._nvml
        try:
            return GpuReading(
                tuple(nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100 for handle in self._handles),
                tuple(nvml.nvmlDeviceGetMemoryInfo(handle).used for handle in self._handles),
            )
        except nvml.NVMLError as error:
            _log.info("the GPU does not tell how busy it is: %s", error)
            return None


def _text(name: str | bytes) -> str:
    """Older versions of the package give bytes."""
    return name.decode() if isinstance(name, bytes) else name
