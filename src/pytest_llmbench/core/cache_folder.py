"""Where derived files live: the user's cache folder, or the one that `LLMBENCH_CACHE_DIR` names."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "LLMBENCH_CACHE_DIR"


def cache_dir() -> Path:
    """The cache folder. It is not created here; everything in it can be deleted and is made again when needed."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("pytest-llmbench", appauthor=False))
