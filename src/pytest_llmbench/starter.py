"""The files every project starts from. A working copy in the current project wins over the packaged one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_llmbench.atomic import replacing
from pytest_llmbench.errors import NotReadyError, UsageError

_PACKAGE = Path(__file__).parent

CONFIG = Path("configs/llmbench.yaml")
"""The settings file that applies where none is named."""
SUITES = tuple(f"tests/suites/test_{question}.py" for question in ("benchmark", "autotune", "finetune"))
PROJECT = (str(CONFIG), "prompts/*.yaml", *SUITES)
"""What `llmbench init` gives a project to edit. The model registry stays packaged, so that an upgrade brings models."""
DEMO = ("adapters/**/*",)
"""The adapter that the default benchmark compares; without a copy the packaged one is used."""


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


def starter_files(patterns: Sequence[str], target: Path) -> dict[Path, Path]:
    """Where in `target` each starter file that the patterns match goes, and where it comes from.

    Raises:
        NotReadyError: a pattern matches nothing, so that this installation is incomplete.
    """
    return {target / name: starter_folder() / name for pattern in patterns for name in _matching(pattern)}


def copy_files(files: Mapping[Path, Path]) -> None:
    """Copy each value to its key, replacing what is there. Raises NotReadyError when the disk refuses."""
    for copy, original in files.items():
        with replacing(copy) as temporary:
            temporary.write_bytes(original.read_bytes())


def refuse_existing(files: Mapping[Path, Path]) -> None:
    """Raise UsageError with the names of all files that are there already."""
    if existing := [str(copy) for copy in files if copy.exists()]:
        raise UsageError(f"already there: {', '.join(existing)}; nothing was written, --force replaces them")


def _matching(pattern: str) -> Iterator[Path]:
    folder = starter_folder()
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    if not found:
        raise NotReadyError(f"this installation has no {pattern} in {folder}; install pytest-llmbench again")
    for path in found:
        yield path.relative_to(folder)
