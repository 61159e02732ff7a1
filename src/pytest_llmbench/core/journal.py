"""One append-only file of JSON objects, one a line: what was measured is on disk before the next thing begins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import WRITE_ELSEWHERE, cannot_write


class Journal:
    """Entries are appended whole, also by several processes at once, and read as far as lines are complete.

    A killed process or a full disk may leave half a line: the next `append` ends it, so that it spoils only itself, or
    `trim` cuts it off where nobody else writes. Without a path nothing is kept.
    """

    def __init__(self, path: Path | None, remedy: str = WRITE_ELSEWHERE, names: tuple[str, ...] = ()) -> None:
        self.path, self._remedy, self._names = path, remedy, names
        self._read_to = 0
        self._torn = False

    def append(self, entry: Mapping[str, Any], *, durable: bool = False) -> None:
        """Write one entry; `durable` waits until the disk has it.

        Raises:
            NotReadyError: the disk refuses.
        """
        if self.path is None:
            return
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        if self._torn:
            line = b"\n" + line
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                self._write_whole(descriptor, line)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(self.path, error, self._remedy, self._names) from error

    def unread(self) -> Iterator[bytes]:
        """The complete lines that were added since the last look, by whatever process.

        Raises:
            OSError: the file cannot be read.
        """
        if self.path is None or not self.path.exists() or self.path.is_fifo() or self.path.is_char_device():
            return  # a pipe or a terminal keeps no line, and would be waited for
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

    def _write_whole(self, descriptor: int, line: bytes) -> None:
        """One write for one line, so that lines of several processes do not mix; a second only after a partial one.

        A disk that becomes full takes the first and refuses the second.
        """
        while line:
            line = line[os.write(descriptor, line) :]
            self._torn = bool(line)
