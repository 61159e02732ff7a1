"""The most memory that a piece of work held: the GPU's own count, or what the C library has given out, looked at often.

Resident memory would count the holes in the C library's heap too, which are up to 1.6 times what is in use.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from collections.abc import Callable
from typing import Self

_LOOK_EVERY_S = 0.02


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
        self._start = self._most = in_use()
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
            self._most = max(self._most, in_use())


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


def in_use() -> int:
    """Bytes that the C library has given out, PyTorch's CPU tensors among them; elsewhere resident memory."""
    ask = _mallinfo2()
    if ask is None:
        return resident()
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


def resident() -> int:
    """Bytes of this process in memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def held(device: str) -> int:
    """Bytes that the process holds now, or that PyTorch holds on the GPUs."""
    if not device.startswith("cuda"):
        return resident()
    import torch

    return sum(torch.cuda.memory_allocated(index) for index in range(torch.cuda.device_count()))
