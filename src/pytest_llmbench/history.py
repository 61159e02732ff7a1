"""Run folders: `unfinished-*` while a run is under way, `NNNN_name` once it is whole."""

from __future__ import annotations

import re
from pathlib import Path

from filelock import FileLock

from pytest_llmbench.errors import NotReadyError, UsageError
from pytest_llmbench.generation.journal import JOURNAL

_NUMBERED = re.compile(r"(\d{4,})_")
_PREFIX = "unfinished-"


def new_folder(report_dir: Path, token: str) -> Path:
    """Where a new run is journaled until it is whole. Nothing is made on disk yet."""
    return report_dir / "runs" / f"{_PREFIX}{token}"


def unfinished(report_dir: Path, wanted: str | None = None) -> Path | None:
    """The folder of the run to go on with: the newest unfinished one, or the one that is named.

    Raises:
        UsageError: the named one does not exist, or is finished.
    """
    if wanted:
        for folder in (Path(wanted), report_dir / "runs" / wanted):
            if (folder / JOURNAL).is_file() and not _NUMBERED.match(folder.name):
                return folder
        known = ", ".join(folder.name for folder in _unfinished(report_dir)) or "none"
        raise UsageError(f"--llmbench-resume: no unfinished run {wanted!r}; unfinished in {report_dir}/runs: {known}")
    return next(reversed(_unfinished(report_dir)), None)


def finish(folder: Path, name: str) -> Path:
    """Give a whole run its number, in one step: two sessions that end together get two numbers.

    Raises:
        NotReadyError: the folder cannot be renamed.
    """
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    runs = folder.parent
    for lock in folder.glob("*.lock"):
        lock.unlink()
    with FileLock(runs / ".lock"):
        number = 1 + max((int(match[1]) for path in runs.iterdir() if (match := _NUMBERED.match(path.name))), default=0)
        try:
            return folder.rename(runs / f"{number:04}_{safe}")
        except OSError as error:
            raise NotReadyError(f"cannot rename {folder}: {error.strerror}; it is whole and readable there") from error


def _unfinished(report_dir: Path) -> list[Path]:
    folders = [path.parent for path in (report_dir / "runs").glob(f"{_PREFIX}*/{JOURNAL}")]
    return sorted(folders, key=lambda folder: (folder / JOURNAL).stat().st_mtime)
