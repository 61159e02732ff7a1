"""How many threads are worth using for a piece of work on the CPU."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_PROBES = 3


@contextlib.contextmanager
def fastest_threads() -> Iterator[None]:
    """Inside the block PyTorch uses one thread, where that is faster than all; the number comes back afterwards.

    Threads that wait for each other on busy shared cores lose: quantizing 135M parameters took 32 s on two such cores
    and 6 s on one. The probe is `bucketize`, nearly all of bitsandbytes' quantizing time; it costs some 50 ms.
    """
    import torch

    usual = torch.get_num_threads()
    sample, borders = torch.rand(1 << 20), torch.linspace(0, 1, 16)

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        started = time.perf_counter()
        torch.bucketize(sample, borders)
        return time.perf_counter() - started

    try:
        torch.set_num_threads(min((1, usual), key=lambda threads: sum(seconds(threads) for _ in range(_PROBES))))
        yield
    finally:
        torch.set_num_threads(usual)
