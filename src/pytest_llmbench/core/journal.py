"""One append-only file of JSON objects, one a line: what was measured is on disk before the next thing begins."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import WRITE_ELSEWHERE, cannot_write

_OUTPUTS = (1, 2)
_log = logging.getLogger("pytest_llmbench")


class Journal:
    """Entries are appended whole, also by several processes at once, and read as far as lines are complete.

    A killed process or a full disk may leave half a line: the next `append` ends it, so that it spoils only itself, or
    `trim` cuts it off where nobody else writes. Without a path nothing is kept. A pipe stays open, since its reader
    ends with it; when the reader ends first, that is announced and nothing more is written.
    """

    def __init__(self, path: Path | None, remedy: str = WRITE_ELSEWHERE, names: tuple[str, ...] = ()) -> None:
        self.path, self._remedy, self._names = path, remedy, names
        self._read_to = 0
        self._torn = False
        self._stream: int | None = None
        self._is_deserted = False

    def append(self, entry: Mapping[str, Any], *, durable: bool = False) -> None:
        """Write one entry; `durable` waits until the disk has it.

        Raises:
            NotReadyError: the disk refuses.
        """
        if self.path is None or self._is_deserted:
            return
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        if self._torn:
            line = b"\n" + line
        try:
            with self._opened(self.path) as descriptor:
                self._write_whole(descriptor, line)
                if durable and self._stream is None:
                    os.fsync(descriptor)
        except BrokenPipeError:
            self._is_deserted = True
            _log.warning("nobody reads the journal %s any more; nothing more is written to it", self.path)
        except OSError as error:
            raise cannot_write(self.path, error, self._remedy, self._names) from error

    def unread(self) -> Iterator[bytes]:
        """The complete lines that were added since the last look, by whatever process.

        Raises:
            OSError: the file cannot be read.
        """
        if self.path is None or not self.path.exists() or _is_stream(self.path):
            return  # a pipe or a terminal keeps no line, and would be waited for; others write to the output too
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                self._torn = not line.endswith(b"\n")
                if self._torn:
                    return
                self._read_to += len(line)
                yield line

    def take_over(self) -> list[bytes]:
        """All complete lines of a file that nobody else writes; half a line behind them is cut off.

        Raises:
            NotReadyError: the file can be neither read nor changed.
        """
        try:
            found = list(self.unread())
            self.trim()
        except OSError as error:
            raise NotReadyError(f"cannot use {self.path}: {error.strerror}; make it readable and writable") from error
        return found

    def trim(self) -> None:
        """Cut off half a line at the end. Raises OSError where the file cannot be changed."""
        if self._torn and self.path is not None:
            os.truncate(self.path, self._read_to)
            self._torn = False

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        if self._stream is None and _is_stream(path):
            self._stream = _output_to(path)
            if self._stream is None:
                self._stream = os.open(path, os.O_WRONLY | os.O_APPEND)
                weakref.finalize(self, os.close, self._stream)
        if self._stream is not None:
            yield self._stream
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _write_whole(self, descriptor: int, line: bytes) -> None:
        """One write for one line, so that lines of several processes do not mix; a second only after a partial one.

        A disk that becomes full takes the first and refuses the second.
        """
        while line:
            line = line[os.write(descriptor, line) :]
            self._torn = bool(line)


def _is_stream(path: Path) -> bool:
    return path.is_fifo() or path.is_char_device() or _output_to(path) is not None


def _output_to(path: Path) -> int | None:
    """The descriptor of this process's output that goes to this file: a second one would write over what it wrote."""
    for descriptor in _OUTPUTS:
        with contextlib.suppress(OSError):  # there is no such file yet, or the output is closed
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
    return None
