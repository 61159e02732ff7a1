from __future__ import annotations

import sys
from typing import Any

import pytest
from support.nvml import nvml

from pytest_llmbench.load.gpu_monitor import GpuReading, Gpus


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
