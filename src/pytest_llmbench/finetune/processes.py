"""The processes that `accelerate launch` starts for one training: how many there are, and which of them this one is."""

from __future__ import annotations

import os


def process_count() -> int:
    """How many train together; 1 where nobody launched several."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def own_gpu() -> int:
    """The number of this process's GPU on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))
