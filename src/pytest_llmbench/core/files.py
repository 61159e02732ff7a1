"""Files on disk: written atomically, so that a reader sees the old content or the new one; and locks."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.core.errors import NotReadyError, UsageError

WRITE_ELSEWHERE = "free some space or choose another folder"
_MAKE_ROOM = "free some space"
_NOT_ALLOWED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_DESCRIPTORS = (Path("/dev"), Path("/dev/fd"))
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place, on any failure it is removed.

    What a link points to is replaced, not the link, but for what may not be written, such as an object of a DVC or
    git-annex store: there the link is. A file that is there keeps its mode; a new one has that of any.

    Raises:
        UsageError: there is a device or a pipe, which a file would take the place of.
        NotReadyError: the disk is full, or the folder cannot be written.
    """
    try:
        place, known = _place(path)
        temporary = place.parent / f".{place.name}.{secrets.token_hex(4)}{place.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
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


def _place(path: Path) -> tuple[Path, int | None]:
    """Which file is to be replaced for `path`, and the mode that it keeps; None for a new one."""
    try:
        mode = path.stat().st_mode  # links in a circle end here
    except FileNotFoundError:
        mode = None
    hops = [path]
    while hops[-1].is_symlink():
        hops.append(hops[-1].parent / hops[-1].readlink())
    special = mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    if special or any(map(_is_descriptor, hops)):
        raise UsageError(f"{path} is a device or a pipe, and a file would take its place; name a file")
    if mode is None or stat.S_ISDIR(mode):
        return hops[-1], None
    if len(hops) > 1 and not (mode & _WRITABLE and os.access(path, os.W_OK)):  # to root all files are writable
        return hops[-2], None
    return hops[-1], mode


def _is_descriptor(path: Path) -> bool:
    """Whether a path names what a process has open, as `/dev/stdout` and `/proc/self/fd/1` do."""
    folder = path.parent.resolve()
    return folder in _DESCRIPTORS or Path("/proc") in folder.parents


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
    return NotReadyError(f"cannot write {path}: {reason}; {fitting(remedy, error)}", names=names)


def fitting(remedy: str, error: Exception) -> str:
    """A remedy that begins with freeing space, as it is where the disk is full; space gives no leave to write."""
    refused = getattr(error, "errno", None) in _NOT_ALLOWED
    return remedy.replace(_MAKE_ROOM, "make the folder writable") if refused else remedy


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
