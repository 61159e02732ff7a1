"""Reading the body of an answer: server-sent events, or one JSON document, whichever it turns out to be."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from pytest_llmbench.generation.client.chat_answer import Answer, BrokenAnswerError, ReportedError, error_text

_LINE_END = re.compile(rb"\r\n|\r|\n")
_ERROR = "error"

GRACE_S = 1.0
"""For what follows the end of an answer: its usage, and the end of the body, without which no connection is kept."""

_DONE = "[DONE]"
_BOM = b"\xef\xbb\xbf"
_FIELD = re.compile(rb"(?:data|event|id|retry|error)?:")
_LONGEST_FIELD = 6
_DECODER = json.JSONDecoder()  # `json.loads` without its checks of each call: a load generator decodes every token


class _EventReader:
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
                yield _ERROR, json.dumps({"error": _text(line[6:]).strip()})

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


async def read_body(
    chunks: AsyncIterator[bytes], answer: Answer, *, typed_stream: bool = True, charset: str = "utf-8"
) -> None:
    """Read a body into `answer`: events where it begins as a stream does, whatever its type, else one document.

    Events are in UTF-8; documents are in `charset`, which the server tells.

    Raises:
        ReportedError: the server says that it failed.
        BrokenAnswerError: it is no answer, or ends before the answer does.
    """
    head, form = b"", None
    async for chunk in chunks:
        head += chunk
        if (form := _form(head, typed_stream=typed_stream)) is not None:
            break
    if form == "whole" or (form is None and not typed_stream):
        read_whole(head + b"".join([chunk async for chunk in chunks]), answer, charset)
    else:
        await _read_stream(head.removeprefix(_BOM), chunks, answer)


def read_whole(body: bytes, answer: Answer, charset: str = "utf-8") -> None:
    """Read a JSON body into `answer`.

    Raises:
        BrokenAnswerError: the body is not a chat completion.
    """
    text = body.removeprefix(_BOM).decode(charset, errors="replace").strip()
    if not text:
        raise BrokenAnswerError("the answer is empty")
    answer.add_whole(_json_object(text))


def _form(head: bytes, *, typed_stream: bool) -> str | None:
    """What kind of body begins so; None while that cannot be told."""
    text = head.removeprefix(_BOM).lstrip()
    if text[:1] in (b"{", b"[", b"<"):
        return "whole"
    if _FIELD.match(text):
        return "stream"
    if len(text) < _LONGEST_FIELD and b"\n" not in text and b"\r" not in text:
        return None
    return "stream" if typed_stream else "whole"


async def _read_stream(head: bytes, chunks: AsyncIterator[bytes], answer: Answer) -> None:
    reader = _EventReader()
    complete = _take_in(reader.feed(head), answer)
    if not complete:
        async for chunk in chunks:
            if complete := _take_in(reader.feed(chunk), answer):
                break
    if complete:
        await _read_to_end(reader, chunks, answer)
    elif not _take_in(reader.feed(b"\n\n"), answer):  # an event that only lacks its blank line counts
        raise BrokenAnswerError("the server closed the stream before the answer was complete")


async def _read_to_end(reader: _EventReader, chunks: AsyncIterator[bytes], answer: Answer) -> None:
    """Read what follows the end of an answer, so that the connection can be used again; a stream left open is cut."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(GRACE_S) as grace:
            async for chunk in chunks:
                known = answer.deltas
                if not answer.done:
                    _take_in(reader.feed(chunk), answer)
                if answer.deltas > known:  # a server that calls every event the last
                    grace.reschedule(loop.time() + GRACE_S)
    except TimeoutError:
        answer.left_open = True
    if not answer.done:
        _take_in(reader.feed(b"\n\n"), answer)


def _take_in(events: Iterator[tuple[str, str]], answer: Answer) -> bool:
    """Whether the answer is complete with these events."""
    for name, data in events:
        text = data.strip()
        if name == _ERROR:
            raise ReportedError(f"the server reports: {_reported(text)}")
        for value in _values(text):
            if value == _DONE:
                answer.end()
                return True
            if not name or value.startswith("{"):
                answer.add_chunk(_json_object(value))
    return answer.complete


def _values(text: str) -> Iterable[str]:
    """What one event says: one value, or one a line from servers that write no blank line between events."""
    if "\n" not in text:
        return (text,) if text else ()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    each_alone = all(line == _DONE or (line[0] == "{" and line[-1] == "}") for line in lines)
    return lines if each_alone else (text,)


def _reported(text: str) -> str:
    try:
        return error_text(json.loads(text))
    except ValueError:
        return text[:300]


def _json_object(text: str) -> dict[str, Any]:
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:  # JSON may be nested deeper than Python reads
        raise BrokenAnswerError(f"the server sent broken JSON: {text[:100]!r}") from error
    if end < len(text):
        raise BrokenAnswerError(f"the server sent more than one JSON value: {text[:100]!r}")
    if not isinstance(value, dict):
        raise BrokenAnswerError(f"the server sent {text[:100]!r} where a JSON object was due")
    return value
