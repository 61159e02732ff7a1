"""Making the C library give freed memory back at once.

glibc keeps blocks below 32 MB in one heap. A training step frees large temporaries between activations that stay, and
what is asked for next often does not fit into the holes: the process then holds 1.3 to 1.6 times what is in use,
and with gradient checkpointing up to 5 times.
"""

from __future__ import annotations

import ctypes
import logging
import sys

from pytest_llmbench.models.memory.estimate import MemoryEstimate, TrainingPlan
from pytest_llmbench.models.memory.hardware import Hardware

_log = logging.getLogger("pytest_llmbench")

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of <malloc.h>
_START_VALUE = 128 * 1024  # glibc's own, which it lets grow to 32 MB as blocks are freed
_MOST_HOLES = 1.7
_MOST_HOLES_RECOMPUTING = 5.1  # a layer's inside comes and goes between inputs that stay


def spare_memory_if_tight(estimate: MemoryEstimate, plan: TrainingPlan, hardware: Hardware) -> bool:
    """Call `return_freed_memory` when the estimate fits into the room but its heap with holes might not."""
    holes = _MOST_HOLES_RECOMPUTING if plan.gradient_checkpointing else _MOST_HOLES
    if hardware.device == "cpu" and estimate.total * holes > hardware.room:
        _log.warning("little memory is free: freed memory is given back at once, which makes training slower")
        return return_freed_memory()
    return False


def return_freed_memory() -> bool:
    """For the rest of this process, map every block of 128 kB or more on its own: freeing it returns it.

    The process then holds what is in use, for a fifth to a half more CPU time, spent on fresh pages. False where the
    C library has no such setting; nothing changes then.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return bool(mallopt and mallopt(_MMAP_THRESHOLD, _START_VALUE))
