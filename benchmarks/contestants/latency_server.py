"""An OpenAI-compatible server of a known latency, with its own clock: what clients report is held against it.

usage: python latency_server.py [--first-ms 50] [--gap-ms 10] [--tokens 20]

Prints its port. When its standard input is closed it prints what it saw as JSON and ends. Plain sockets of asyncio, so
that it costs little and is at hand when its timers are due. Every request's time to first token is noted as the server
did it: from the last byte of the question to the first byte of the first token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from typing import Any

_METRICS = "llamacpp:requests_processing {open}\nllamacpp:requests_deferred 0\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Seen:
    """What the server saw."""

    def __init__(self) -> None:
        self.first_s: list[float] = []
        self.open = self.most_open = 0
        self.connections = self.live_connections = self.most_connections = 0
        self.aborted = 0

    def as_json(self) -> str:
        """For whoever reads the process's output."""
        return json.dumps({key: value for key, value in vars(self).items() if not key.startswith("live")})


class Connection(asyncio.Protocol):
    """One client connection: its requests come one after the other."""

    def __init__(self, seen: Seen, first_s: float, gap_s: float, tokens: int) -> None:
        self._seen, self._first_s, self._gap_s, self._tokens = seen, first_s, gap_s, tokens
        self._rest = b""
        self._chats = self._answering = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, _error: Exception | None) -> None:
        """The client has left, perhaps in mid-answer."""
        self._seen.live_connections -= self._chats
        if self._timer:
            self._timer.cancel()
        if self._answering:
            self._seen.open -= 1
            self._seen.aborted += 1

    def data_received(self, data: bytes) -> None:
        """Some of a request."""
        self._rest += data
        head, mark, body = self._rest.partition(b"\r\n\r\n")
        if not mark:
            return
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(body) < length:
            if b"100-continue" in head.lower():
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        arrived, self._rest = time.monotonic(), body[length:]
        if head.startswith(b"POST /v1/chat/completions"):
            self._chat(json.loads(body[:length]), arrived)
        else:
            self._other(head)

    def _chat(self, asked: dict[str, Any], arrived: float) -> None:
        seen = self._seen
        if not self._chats:
            self._chats = True
            seen.connections += 1
            seen.live_connections += 1
            seen.most_connections = max(seen.most_connections, seen.live_connections)
        self._answering = True
        seen.open += 1
        seen.most_open = max(seen.most_open, seen.open)
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        if asked.get("stream"):
            self._transport.write(_HEAD)
        due = self._loop.time() + self._first_s
        self._timer = self._loop.call_at(due, self._token, 0, due, arrived, asked, usage)

    def _token(self, number: int, due: float, arrived: float, asked: dict[str, Any], usage: bool) -> None:  # noqa: FBT001
        if not asked.get("stream"):
            self._end()
            self._plain(_chunk({"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}))
            return
        if number == 0:
            self._seen.first_s.append(time.monotonic() - arrived)
        content = {"role": "assistant", "content": f"t{number} "}
        self._event(_chunk({"delta": content, "finish_reason": None}))
        if number + 1 < self._tokens:
            due += self._gap_s
            self._timer = self._loop.call_at(due, self._token, number + 1, due, arrived, asked, usage)
            return
        self._event(_chunk({"delta": {}, "finish_reason": "stop"}))
        if usage:
            self._event({**_chunk(None), "usage": _usage(self._tokens)})
        self._end()
        self._transport.write(_chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def _end(self) -> None:
        self._answering, self._timer = False, None
        self._seen.open -= 1

    def _event(self, body: dict[str, Any]) -> None:
        self._transport.write(_chunked(b"data: " + json.dumps(body).encode() + b"\n\n"))

    def _other(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/metrics":
            self._plain(_METRICS.format(open=self._seen.open).encode(), "text/plain")
        else:
            self._plain({"object": "list", "data": [{"id": "known-latency", "object": "model"}]})
        if b"connection: close" in head.lower():
            self._transport.close()

    def _plain(self, body: dict[str, Any] | bytes, kind: str = "application/json") -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(raw)}\r\n\r\n"
        self._transport.write(head.encode() + raw)


def _chunk(choice: dict[str, Any] | None) -> dict[str, Any]:
    about = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "known-latency"}
    return {**about, "choices": [] if choice is None else [{"index": 0, **choice}]}


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 32, "completion_tokens": tokens, "total_tokens": 32 + tokens}


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(first_s: float, gap_s: float, tokens: int) -> None:
    seen, loop = Seen(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seen, first_s, gap_s, tokens), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(seen.as_json(), flush=True)


def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--gap-ms", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=20)
    chosen = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_serve(chosen.first_ms / 1000, chosen.gap_ms / 1000, chosen.tokens))


if __name__ == "__main__":
    main()
