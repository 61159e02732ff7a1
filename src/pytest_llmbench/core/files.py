"""Files on disk: written atomically, so that a reader sees the old content or the new one; and locks."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.core.errors import NotReadyError, UsageError

WRITE_ELSEWHERE = "free some space or choose another folder"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on any failure it is removed.

    What a link points to is replaced, not the link. A file that is there keeps its mode; a new one has that of any.

    Raises:
        UsageError: there is a device or a pipe, which a file would take the place of.
        NotReadyError: the disk is full, or the folder cannot be written.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UsageError(f"{path} is a device or a pipe, and a file would take its place; name a file")
        place = path.resolve() if path.is_symlink() else path
        temporary = place.parent / f".{place.name}.{secrets.token_hex(4)}{place.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        known = place.stat().st_mode if place.is_file() else None
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if known else 0o666))
        mode = stat.S_IMODE(known or temporary.stat().st_mode)  # of a new one, as the umask leaves it
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(place)
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
