"""Server-sent events out of bytes that are cut anywhere (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_LINE_END = re.compile(rb"\r\n|\r|\n")
ERROR = "error"


class EventReader:
    """Turns bytes into events: the name of each, mostly empty, and its data. CR, LF and CRLF end lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        """The events that the bytes complete."""
        if chunk.startswith(b"data: ") and chunk.find(b"\n") == len(chunk) - 2 and self._is_plain(chunk):
            yield "", _text(chunk[6:-2])  # one whole event, as nearly every chunk of a stream is
            return
        for line in self._lines(chunk):
            if line.startswith(b"data:"):
                self._data.append(_text(line[5:]).removeprefix(" "))
            elif not line:
                if self._data:
                    yield self._name, "\n".join(self._data)
                    self._data.clear()
                self._name = ""
            elif line.startswith(b"event:"):
                self._name = _text(line[6:]).strip()
            elif line.startswith(b"error:"):  # how older llama.cpp servers tell of an error inside a stream
                yield ERROR, json.dumps({"error": _text(line[6:]).strip()})

    def _is_plain(self, chunk: bytes) -> bool:
        """Whether a chunk that begins an event and holds its first line also ends it, and nothing came before."""
        pending = self._rest or self._data or self._name or self._after_cr
        return not pending and chunk.endswith(b"\n\n") and b"\r" not in chunk

    def _lines(self, chunk: bytes) -> list[bytes]:
        if not chunk:
            return []
        if self._after_cr:  # the CR has ended its line already; an LF that belongs to it begins none
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r") or (not chunk and self._after_cr)
        text = self._rest + chunk
        *lines, self._rest = _LINE_END.split(text) if b"\r" in text else text.split(b"\n")
        return lines


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")
