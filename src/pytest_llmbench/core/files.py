"""Files on disk: written atomically, so that a reader sees the old content or the new one; and locks."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.core.errors import NotReadyError, UsageError

WRITE_ELSEWHERE = "free some space or choose another folder"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on any failure it is removed.

    Raises:
        NotReadyError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically. Raises NotReadyError when the disk refuses."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def delete(path: Path) -> None:
    """Remove a file, if it is there. Raises NotReadyError when the disk refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise NotReadyError(f"cannot delete {path}: {error.strerror}; delete it by hand") from error


def cannot_write(
    path: Path, error: OSError, remedy: str = WRITE_ELSEWHERE, names: tuple[str, ...] = ()
) -> NotReadyError:
    """The error that tells which file or folder could not be written, why, and what to do.

    `names` are the settings and arguments that the `remedy` speaks of.
    """
    reason = os.strerror(error.errno) if error.errno else error  # libraries put their own words into strerror
    return NotReadyError(f"cannot write {path}: {reason}; {remedy}", names=names)


class InUseError(UsageError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path, *, in_use: str | None = None, names: tuple[str, ...] = ()) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; its folder is made.

    Where another process holds it, that is refused with the message `in_use` and its `names`, or waited for when there
    is none.

    Raises:
        InUseError: `in_use`.
        NotReadyError: the folder cannot be written.
    """
    import filelock

    held = filelock.FileLock(path, blocking=in_use is None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except filelock.Timeout as error:
        raise InUseError(in_use or str(error), names=names) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        held.release()
