"""Where files lie that no user wrote: the starter files of every project, and the cache of what was derived.

A working copy of a starter file in the current project wins over the packaged one.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

CONFIG = Path("configs/llmbench.yaml")
"""The settings file that applies where none is named."""
SUITES = tuple(f"tests/suites/test_{question}.py" for question in ("benchmark", "autotune", "context", "finetune"))
"""The tests that `llmbench init` gives a project, one a question."""

PROMPTS = Path("prompts")
"""The folder of suites that is taken where none is named."""
VOCABULARY_FILE = "tools.yaml"
"""A file of this name in a folder of suites is the vocabulary, never a suite."""
VOCABULARY = PROMPTS / VOCABULARY_FILE

CACHE_VARIABLE = "LLMBENCH_CACHE_DIR"


def starter_folder() -> Path:
    """Where the starter files are: inside an installed wheel, or at the top of a working copy of this project."""
    installed = _PACKAGE / "starter"
    return installed if installed.is_dir() else _PACKAGE.parents[1]


def present(path: Path) -> Path:
    """`path` where the current project has it, else the starter file of that name, else `path` as it was."""
    if path.is_absolute() or path.exists():
        return path
    packaged = starter_folder() / path
    return packaged if packaged.exists() else path


def left_behind(root: Path, *paths: Path) -> list[Path]:
    """Which of the paths a project at `root` has and the working directory has not.

    Settings, suites, adapters and reports are those of the working directory: run from another folder of a project, the
    packaged demo would be judged in its place. In a working copy of this project that demo is its own.
    """
    if root == starter_folder():
        return []
    # os.path asks no leave to look
    return [one for one in paths if not one.is_absolute() and not one.exists() and os.path.exists(root / one)]  # noqa: PTH110


def cache_dir() -> Path:
    """The cache folder. It is not created here; everything in it can be deleted and is made again when needed."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("pytest-llmbench", appauthor=False))
