from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from pytest_llmbench.load.gpus import GpuReading, Gpus


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
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=handle * 2**30),
    )
    return module


def test_every_device_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(2))
    gpus = Gpus.found()
    assert gpus is not None
    assert gpus.names == ("GPU 1", "GPU 2")
    assert gpus.read() == GpuReading((0.1, 0.2), (2**30, 2**31))


@pytest.mark.parametrize(
    "module", [None, nvml(0), nvml(1, initialised=False)], ids=["no package", "no device", "no driver"]
)
def test_without_package_driver_or_device_there_are_none(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert Gpus.found() is None


def test_a_driver_that_does_not_tell_gives_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(1, silent=True))
    gpus = Gpus.found()
    assert gpus is not None
    assert gpus.read() is None
