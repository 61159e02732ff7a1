"""A GPU for each worker of pytest-xdist: what a worker may see is set before torch looks for devices."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def share_devices(worker: Mapping[str, Any], settings: Settings) -> None:
    """Leave this worker one of the machine's GPUs, by its number; with more workers than GPUs some share one.

    A `model.device_map` of the user's own, or GPUs that torch already uses, are left alone.

    Raises:
        UsageError: the answers come from a Ray cluster, which divides the work itself.
    """
    if settings.ray.address:
        told = "a Ray cluster divides the work itself: leave out pytest-xdist's -n, and set ray.actors instead"
        raise UsageError(told, names=("ray.address", "ray.actors"))
    elsewhere = settings.server.url or settings.model.device == "cpu" or settings.model.device_map != "auto"
    if elsewhere or int(worker["workercount"]) < 2 or _in_use():  # noqa: PLR2004  # alone it may have all of them
        return
    if chosen := device_of(str(worker["workerid"]), devices(os.environ, Path("/dev"))):
        os.environ[_VISIBLE] = chosen


def devices(environ: Mapping[str, str], folder: Path) -> list[str]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES, else as many as `folder` has NVIDIA's."""
    if _VISIBLE in environ:
        return [one.strip() for one in environ[_VISIBLE].split(",") if one.strip()]
    return [str(number) for number, _ in enumerate(sorted(folder.glob("nvidia[0-9]*")))]


def device_of(worker: str, among: Sequence[str]) -> str | None:
    """The GPU of `gw0`, `gw1` and so on; None where there is no choice."""
    number = re.fullmatch(r"gw(\d+)", worker)
    return among[int(number[1]) % len(among)] if number and len(among) > 1 else None


def _in_use() -> bool:
    torch = sys.modules.get("torch")
    return bool(torch is not None and torch.cuda.is_initialized())
