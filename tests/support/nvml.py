"""A double of NVIDIA's driver library."""

from __future__ import annotations

import types
from typing import Any


class NVMLError(Exception):
    pass


def nvml(devices: int, *, silent: bool = False, initialised: bool = True) -> Any:
    """A stand-in for nvidia-ml-py's module, with devices that are busy by 10 % times their number."""

    def init() -> None:
        if not initialised:
            raise NVMLError("Driver Not Loaded")

    def rates(handle: int) -> Any:
        if silent:
            raise NVMLError("Not Supported")
        return types.SimpleNamespace(gpu=10 * handle)

    module = types.ModuleType("pynvml")
    vars(module).update(
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: devices,
        nvmlDeviceGetHandleByIndex=lambda index: index + 1,
        nvmlDeviceGetName=lambda handle: f"GPU {handle}".encode(),
        nvmlDeviceGetUtilizationRates=rates,
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=handle * 2**30, total=4 * handle * 2**30),
        nvmlDeviceGetCudaComputeCapability=lambda handle: (6 + handle, 5),  # 7.5, as a T4, 8.5 and so on
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}c0ffee",
    )
    return module
