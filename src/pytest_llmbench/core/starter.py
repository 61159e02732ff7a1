"""The files every project starts from. A working copy in the current project wins over the packaged one."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

CONFIG = Path("configs/llmbench.yaml")
"""The settings file that applies where none is named."""
SUITES = tuple(f"tests/suites/test_{question}.py" for question in ("benchmark", "autotune", "context", "finetune"))
"""The tests that `llmbench init` gives a project, one a question."""


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
