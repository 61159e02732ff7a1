"""Run folders: `unfinished-*` while a run is under way, numbered `NNNN_name` once it is whole."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import LLMBenchError, NotReadyError, UsageError
from pytest_llmbench.core.files import cannot_write, locked
from pytest_llmbench.generation.completion_store import JOURNAL, OLD_JOURNAL, copy_journal, journal_in
from pytest_llmbench.runs.result_parts import copy_parts
from pytest_llmbench.runs.storage import write_json

RUN_FILE, CONTEXT_FILE = "run.json", "context.json"
"""What a whole run's folder holds: a benchmark's run, or a context run."""

NUMBERED = re.compile(r"(\d{4,})_(.+)")
"""The name of a whole run's folder."""

_PREFIX = "unfinished-"
_LONGEST_NAME = 200
"""Bytes; file systems take 255, and a number, an ending and the mark of a run made from it stand beside the name."""
_AT_WORK = "session-"


@dataclasses.dataclass(frozen=True, slots=True)
class RunFolder:
    """A whole run on disk, unread: its number, the name it was saved under, and its file."""

    number: int
    name: str
    path: Path

    @property
    def title(self) -> str:
        """Number and name, as its folder is called: `0007_accepted`."""
        return self.path.parent.name


def new_folder(report_dir: Path, token: str) -> Path:
    """Where a new run is journaled until it is whole. Nothing is made on disk yet."""
    return report_dir / "runs" / f"{_PREFIX}{token}"


def new_side_folder(report_dir: Path, token: str) -> Path:
    """As `new_folder`, for a run that nobody goes on with: what resumes a session never takes it."""
    return report_dir / "runs" / f".{_PREFIX}{token}"


def unfinished(report_dir: Path, wanted: str | None = None) -> Path | None:
    """The folder of the run to go on with: the newest unfinished one, or the one that is named.

    Raises:
        UsageError: the named one does not exist, or is finished.
    """
    if wanted:
        for folder in (Path(wanted), report_dir / "runs" / wanted):
            if journal_in(folder) and not NUMBERED.match(folder.name):
                return folder
        known = ", ".join(folder.name for folder in _unfinished(report_dir)) or "none"
        told = f"nothing to resume: no unfinished run {wanted!r}; unfinished in {report_dir}/runs: {known}"
        raise UsageError(told, names=("resume",))
    return next(reversed(_unfinished(report_dir)), None)


@contextlib.contextmanager
def at_work(folder: Path, session: str, process: str) -> Iterator[None]:
    """Inside the block this process of a session works on an unfinished run, and no process of another session does.

    Raises:
        InUseError: another session is at work on it.
        NotReadyError: the folder cannot be written.
    """
    ours = f"{_AT_WORK}{session}-"
    told = f"another session is at work on {folder.name}; wait until it ends, or name another unfinished run"
    own = folder / f"{ours}{process}.lock"
    with locked(own):
        try:
            for other in folder.glob(f"{_AT_WORK}*.lock"):
                if not other.name.startswith(ours):
                    with locked(other, in_use=told, names=("resume",)):
                        pass
            yield
        finally:
            own.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something is journaled in it, as a rule
                folder.rmdir()


@contextlib.contextmanager
def at_work_beside(folder: Path) -> Iterator[None]:
    """Inside the block this process works on a run of `new_side_folder`.

    What killed processes left of theirs is removed before, and this one's after, unless it is whole.

    Raises:
        NotReadyError: the folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        with locked(folder.parent / ".lock"):  # none is made meanwhile, and taken for left before it is locked
            for other in folder.parent.glob(f".{_PREFIX}*"):
                _remove_left(other)
            held.enter_context(at_work(folder, folder.name, "alone"))
        try:
            yield
        finally:
            if not (folder / RUN_FILE).exists():
                shutil.rmtree(folder, ignore_errors=True)


def _remove_left(folder: Path) -> None:
    """Remove the folder of a process that was killed: nobody holds its lock any more."""
    locks = list(folder.glob(f"{_AT_WORK}*.lock"))
    if not locks or (folder / RUN_FILE).exists():
        return
    with contextlib.suppress(LLMBenchError), contextlib.ExitStack() as held:  # in use, or of another user
        for lock in locks:
            held.enter_context(locked(lock, in_use=f"another process is at work on {folder.name}"))
        shutil.rmtree(folder, ignore_errors=True)


def finish(folder: Path, name: str) -> Path:
    """Give a whole run its number, in one step: two sessions that end together get two numbers.

    Raises:
        NotReadyError: the folder cannot be renamed.
    """
    runs = folder.parent
    for lock in folder.glob("*.lock"):
        lock.unlink()
    with locked(runs / ".lock"):
        number = 1 + max((int(match[1]) for path in runs.iterdir() if (match := NUMBERED.match(path.name))), default=0)
        try:
            return folder.rename(runs / f"{number:04}_{safe_name(name)}")
        except OSError as error:
            raise NotReadyError(f"cannot rename {folder}: {error.strerror}; it is whole and readable there") from error


def save(document: Mapping[str, Any], report_dir: Path, name: str, journal: Path | None = None) -> Path:
    """Save a run document, and a copy of the journal that holds its answers, as the next numbered run.

    Raises:
        NotReadyError: as `save_files`.
    """

    def write(folder: Path) -> None:
        write_json(document, folder / RUN_FILE)
        copy_parts(document["results"], folder)
        if journal is not None:
            copy_journal(journal, folder)

    return save_files(write, report_dir, name)


def save_files(write: Callable[[Path], object], report_dir: Path, name: str) -> Path:
    """Save what `write` puts into a folder as the next numbered run, and say in which folder.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; no part of the run is left then.
    """
    runs = report_dir / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".saving-", dir=runs))
    except OSError as error:
        raise NotReadyError(f"cannot write {runs}: {error.strerror}; choose another folder") from error
    try:
        folder.chmod(0o755)
        write(folder)
        return finish(folder, name)
    except OSError as error:
        raise cannot_write(folder, error, "free some space") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # it is gone already when the run was saved


def saved_runs(report_dir: Path, file: str = RUN_FILE) -> list[RunFolder]:
    """Every whole run of the kind that has this file, oldest first. No file is read."""
    found = ((folder, NUMBERED.fullmatch(folder.name)) for folder in (report_dir / "runs").glob("*"))
    runs = [RunFolder(int(match[1]), match[2], folder / file) for folder, match in found if match]
    return sorted((run for run in runs if run.path.is_file()), key=lambda run: (run.number, run.name))


def refuse_output(output: Path, read: Iterable[Path | None] = (), name: str = "output") -> None:
    """See that what is written to `output` replaces nothing that it is made from, and no part of a saved run.

    `read` are files, and folders whose files are read; `name` is the argument that gave the path.

    Raises:
        UsageError: it would.
    """
    place = Path(os.path.realpath(output))  # of links in a circle too, which `resolve` does not bear
    if {place, place.parent} & {Path(os.path.realpath(path)) for path in read if path}:
        told = f"{output} would take the place of what is read, or lie among it; choose another path"
        raise UsageError(told, names=(name,))
    for folder in place.parents:
        if NUMBERED.fullmatch(folder.name) and any((folder / file).is_file() for file in (RUN_FILE, CONTEXT_FILE)):
            told = f"{output} lies in the folder of the saved run {folder.name}, which stays as it is; choose another"
            raise UsageError(told, names=(name,))


def refuse_long_name(name: str) -> None:
    """See that a run can be saved under this name, before it is made.

    Raises:
        UsageError: no folder could carry it.
    """
    length = len(safe_name(name).encode())
    if length > _LONGEST_NAME:
        told = f"the name of a run has at most {_LONGEST_NAME} bytes, and {name:.20}… has {length}; give a shorter one"
        raise UsageError(told, names=("save",))


def safe_name(name: str) -> str:
    """The name as a folder can carry it."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


def _unfinished(report_dir: Path) -> list[Path]:
    folders = (report_dir / "runs").glob(f"{_PREFIX}*")
    return sorted(filter(journal_in, folders), key=_written_at)


def _written_at(folder: Path) -> float:
    """What is committed may still lie beside the journal, in its write-ahead log."""
    return max(file.stat().st_mtime for name in (JOURNAL, OLD_JOURNAL) for file in folder.glob(f"{name}*"))
