"""An upload from the network to the disk, piece by piece: a file of any size takes a few megabytes of memory."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import cannot_write

_FIELD = "file"
_WRITTEN_AT_ONCE = 1 << 20
_LONGEST_NAME = 120
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, and halves of surrogate pairs."""

RAW_TYPES = {
    "text/csv": ".csv",
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/octet-stream": "",
}
"""Media types of a body that is the file itself, and the ending that each means."""
FORMATS = (".jsonl", ".csv", ".json")


class MediaTypeError(UsageError):
    """A body of another media type than what is read."""

    code = "media_type"


@dataclasses.dataclass(frozen=True, slots=True)
class Upload:
    """A file that came whole. `name` is for showing; `format` one of FORMATS."""

    name: str
    format: str
    bytes: int


async def save_upload(body: AsyncIterator[bytes], content_type: str, name: str | None, target: Path) -> Upload:
    """Write the file in a body to `target`: that of a form's field `file`, or the body itself, called `name`.

    Raises:
        UsageError: there is no file in it, or the form is malformed.
        MediaTypeError: it is neither a form nor of RAW_TYPES.
        NotReadyError: the disk is full.
    """
    media, options = parse_options_header(content_type)
    told = media.decode("latin-1")
    if told == "multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary:
            raise UsageError("the form's Content-Type names no boundary; let your HTTP library write that header")
        reader: _Reader = _Form(boundary)
    elif told in RAW_TYPES:
        reader = _Raw(name or f"dataset{RAW_TYPES[told]}")
    else:
        raise MediaTypeError(
            f"the body is {told or 'of no media type'!r:.80}; send a form (multipart/form-data) with the file as "
            f"`{_FIELD}`, or the file itself as {', '.join(RAW_TYPES)}"
        )
    try:
        size = await _write(body, reader, target)
    except OSError as error:
        raise cannot_write(target, error, names=("studio.folder",)) from error
    except FormParserError as error:
        raise UsageError(f"the form is malformed: {error}") from error
    if reader.name is None:
        raise UsageError(f"the form has no file; send it as the field `{_FIELD}`, with a file name")
    shown = _shown(reader.name)
    return Upload(shown, await asyncio.to_thread(_format, shown, target), size)


async def _write(body: AsyncIterator[bytes], reader: _Reader, target: Path) -> int:
    size = 0
    with target.open("xb") as file:
        waiting: list[bytes] = []
        async for chunk in body:
            waiting += reader.feed(chunk)
            if sum(map(len, waiting)) >= _WRITTEN_AT_ONCE:
                size += await asyncio.to_thread(_flush, file, waiting)
                waiting = []
        reader.end()
        return size + await asyncio.to_thread(_flush, file, waiting)


def _flush(file: IO[bytes], pieces: list[bytes]) -> int:
    return sum(map(file.write, pieces))


class _Reader(Protocol):
    """Takes the file out of a body. `name` is its name, once that is known."""

    name: str | None

    def feed(self, chunk: bytes) -> list[bytes]: ...

    def end(self) -> None: ...


class _Raw:
    def __init__(self, name: str) -> None:
        self.name: str | None = name

    def feed(self, chunk: bytes) -> list[bytes]:
        return [chunk]

    def end(self) -> None:
        pass


class _Form:
    """The first part of a form that is a file; other parts are passed over."""

    def __init__(self, boundary: bytes) -> None:
        self.name: str | None = None
        self._pieces: list[bytes] = []
        self._header = self._value = self._disposition = b""
        self._inside = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
            },
        )

    def feed(self, chunk: bytes) -> list[bytes]:
        self._pieces = []
        self._parser.write(chunk)
        return self._pieces

    def end(self) -> None:
        self._parser.finalize()

    def _begin(self) -> None:
        self._disposition, self._inside = b"", False

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        filename = options.get(b"filename")
        if filename and self.name is None:
            self.name, self._inside = filename.decode(errors="replace"), True

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._pieces.append(data[start:end])


def _shown(name: str) -> str:
    """A name for people: the last part of a path, without what could not be seen, at most so long."""
    last = re.split(r"[/\\]", _NOT_SHOWN.sub("", name))[-1].strip(" .")
    if len(last) <= _LONGEST_NAME:
        return last or "dataset"
    stem, dot, ending = last.rpartition(".")
    return (
        f"{stem[: _LONGEST_NAME - len(ending) - 1]}.{ending}"
        if dot and len(ending) < len(FORMATS[0])
        else last[:_LONGEST_NAME]
    )


def _format(name: str, path: Path) -> str:
    """The ending that the library's reader is given: the name's own, or where that says nothing, by the first byte."""
    ending = f".{name.rpartition('.')[2].lower()}" if "." in name else ""
    if ending in FORMATS:
        return ending
    with path.open("rb") as file:
        start = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return {b"{": ".jsonl", b"[": ".json"}.get(start, ".csv")
