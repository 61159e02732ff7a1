"""What a job's process has written since it was last looked at: lines of its journal and of its output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pytest_llmbench.studio.job_events import EvaluationData, LogData, StepData

_AT_ONCE = 2**18  # bytes that are read, and told in one transaction
_LONGEST = 2_000  # characters of a line of the log that are kept
_ENDS = re.compile(rb"\r\n|\n|\r")  # a bar that renews itself ends with \r
_ERROR = "error: "  # how the command line begins its last word
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class JournalLine(BaseModel):
    """A line that a training writes; its data beside what every line has."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Literal["step", "evaluation"]
    at: datetime

    def data(self) -> StepData | EvaluationData:
        """What was measured. Raises ValidationError."""
        kind = StepData if self.kind == "step" else EvaluationData
        return kind.model_validate(self.model_extra)


def new_in_journal(path: Path, read_to: int) -> tuple[list[JournalLine], list[str], int]:
    """Whole lines behind `read_to`, in bytes, at most so many as one look takes; faulty ones; and where they end."""
    found: list[JournalLine] = []
    faulty: list[str] = []
    data = _behind(path, read_to)
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.splitlines():
        if not line.strip():
            continue
        try:
            found.append(_parsed(line))
        except ValueError:
            faulty.append(f"a line of the journal cannot be read: {_text(line)}")
    return found, faulty, read_to + len(whole)


def new_in_output(path: Path, read_to: int, *, over: bool) -> tuple[list[LogData], int]:
    """Lines behind `read_to`, at most so many as one look takes, and where they end.

    When the process is over, its last line needs no end.
    """
    data = _behind(path, read_to)
    if not over and len(data) < _AT_ONCE:
        ends = list(_ENDS.finditer(data))
        data = data[: ends[-1].end()] if ends else b""
    elif len(data) == _AT_ONCE and (last := max(data.rfind(b"\n"), data.rfind(b"\r"))) > 0:
        data = data[: last + 1]
    return [LogData(line=text) for line in _ENDS.split(data) if (text := _text(line))], read_to + len(data)


def _parsed(line: bytes) -> JournalLine:
    """A line whose data is whole too. Raises ValueError, of which a ValidationError is one."""
    parsed = JournalLine.model_validate(json.loads(line))
    parsed.data()
    return parsed


def _behind(path: Path, read_to: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(read_to)
            return file.read(_AT_ONCE)
    except FileNotFoundError:
        return b""


def _text(line: bytes) -> str:
    text = _COLOURS.sub("", line.decode(errors="replace")).replace("\x00", "").rstrip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def error_of(lines: Sequence[str]) -> str | None:
    """The error that a command ended with, which may take several lines; None where it said none."""
    places = [place for place, line in enumerate(lines) if line.startswith(_ERROR)]
    return "\n".join(lines[places[-1] :]).removeprefix(_ERROR) if places else None


def tail(path: Path, since: int, size: int = 4_000) -> Iterator[str]:
    """The last lines of a file, of those behind `since`, in bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(since, path.stat().st_size - size))
            data = file.read()
    except FileNotFoundError:
        return
    yield from (text for line in _ENDS.split(data) if (text := _text(line)))
