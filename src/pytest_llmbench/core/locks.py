"""Keeping other processes out while a folder or file is worked on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import cannot_write


class InUseError(UsageError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path, *, in_use: str | None = None) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; its folder is made.

    Where another process holds it, that is refused with the message `in_use`, or waited for when there is none.

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
        raise InUseError(in_use or str(error)) from error
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        held.release()
