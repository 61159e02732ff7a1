"""Reading one answer of an OpenAI-compatible server: server-sent events, or one JSON document."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

_BLANK = (b"", b"\r")
_DECODER = json.JSONDecoder()  # `json.loads` without its checks of each call: a load generator decodes every token


class BrokenAnswerError(Exception):
    """The server's answer is not what the protocol allows, or says that it failed."""


@dataclasses.dataclass(slots=True)
class Answer:
    """What arrived of an answer so far; it stays readable when the rest never comes.

    `token_times` are monotonic seconds of each event that carried text, reasoning included: one a token on servers that
    send each token as it is made. `first_visible_at` is that of the first one of the visible answer, which is `text`.
    """

    text: str = ""
    token_times: list[float] = dataclasses.field(default_factory=list)
    first_visible_at: float | None = None
    finish_reason: str | None = None
    ended: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    fingerprint: str | None = None

    @property
    def complete(self) -> bool:
        """Whether the server said that the answer ends here."""
        return self.ended or self.finish_reason is not None

    @property
    def deltas(self) -> int:
        """How many events carried text."""
        return len(self.token_times)

    @property
    def first_at(self) -> float | None:
        """Monotonic seconds of the first token."""
        return self.token_times[0] if self.token_times else None

    @property
    def last_at(self) -> float | None:
        """Monotonic seconds of the last token so far."""
        return self.token_times[-1] if self.token_times else None

    def add_chunk(self, event: Mapping[str, Any]) -> None:
        """Take in one event of a stream.

        Raises:
            BrokenAnswerError: the event reports an error, or has not the protocol's form.
        """
        delta = self._read(event, "delta")
        if delta is None:
            return
        visible = delta.get("content")
        if visible or delta.get("reasoning_content") or delta.get("reasoning"):
            now = time.monotonic()
            self.token_times.append(now)
            if visible and self.first_visible_at is None:
                self.first_visible_at = now

    def add_whole(self, event: Mapping[str, Any]) -> None:
        """Take in the whole answer; when its first token came, and how many there were without usage, is not known.

        Raises:
            BrokenAnswerError: as for `add_chunk`, or there is no answer in it.
        """
        if self._read(event, "message") is None:
            raise BrokenAnswerError("the server's answer has no choices")
        self.ended = True

    def _read(self, event: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
        """Keep what the event holds; the message of its first choice, None when there is no choice."""
        if event.get("error") or event.get("object") == "error":
            raise BrokenAnswerError(f"the server reports: {error_text(event)}")
        try:
            if usage := event.get("usage"):
                self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
                self.completion_tokens = usage.get("completion_tokens", self.completion_tokens)
            self.fingerprint = event.get("system_fingerprint") or self.fingerprint
            if not event["choices"]:
                return None
            choice = event["choices"][0]
            message: Mapping[str, Any] = choice.get(key) or {}
            self.text += message.get("content") or ""
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        except (AttributeError, KeyError, TypeError) as error:
            raise BrokenAnswerError(f"not a chat completion: {json.dumps(event)[:200]}") from error
        return message


async def read_stream(chunks: AsyncIterator[bytes], answer: Answer) -> None:
    """Read server-sent events into `answer`, up to `[DONE]` or the end of the body.

    Raises:
        BrokenAnswerError: an event is broken, or the stream ends before the answer does.
    """
    reader = _EventReader()
    async for chunk in chunks:
        _take_in(reader.feed(chunk), answer)
        if answer.ended:
            return
    _take_in(reader.feed(b"\n\n"), answer)  # an event that only lacks its blank line counts
    if not answer.complete:
        raise BrokenAnswerError("the server closed the stream before the answer was complete")


def read_whole(body: bytes, answer: Answer) -> None:
    """Read a JSON body into `answer`.

    Raises:
        BrokenAnswerError: the body is not a chat completion.
    """
    answer.add_whole(_json_object(body.decode("utf-8", errors="replace").strip()))


def error_text(body: object) -> str:
    """The human part of an error body, in the forms that OpenAI, vLLM, llama.cpp and FastAPI give it."""
    while isinstance(body, dict):
        body = body.get("error") or body.get("message") or body.get("detail") or json.dumps(body)
    return str(body)[:300]


def _take_in(events: Iterator[str], answer: Answer) -> None:
    for data in map(str.strip, events):
        if data == "[DONE]":
            answer.ended = True
            return
        answer.add_chunk(_json_object(data))


class _EventReader:
    """Turns bytes, cut anywhere, into the data of server-sent events (WHATWG HTML, 9.2); other fields are skipped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(_text(line[5:]).removeprefix(" "))
            elif line in _BLANK:
                if self._data:
                    yield "\n".join(self._data)
                    self._data.clear()
            elif line.startswith(b"error:"):  # how older llama.cpp servers tell of an error inside a stream
                yield json.dumps({"error": _text(line[6:]).strip()})


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace").removesuffix("\r")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value, end = _DECODER.raw_decode(text)
    except ValueError as error:
        raise BrokenAnswerError(f"the server sent broken JSON: {text[:100]!r}") from error
    if end < len(text):
        raise BrokenAnswerError(f"the server sent more than one JSON value: {text[:100]!r}")
    if not isinstance(value, dict):
        raise BrokenAnswerError(f"the server sent {text[:100]!r} where a JSON object was due")
    return value
