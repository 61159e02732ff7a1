"""A user's side of the wire: one connection of its own, and what each of its questions came to.

No question is asked twice, since a refusal or a failure is what the trial wants to see. The one exception is a
kept-alive connection that the server closed while the user was thinking: that is no failure, and the question goes
over a new connection once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.chat_answer import Answer
from pytest_llmbench.generation.client.chat_exchange import Wire, noting_reuse
from pytest_llmbench.generation.client.chat_request import request_body
from pytest_llmbench.generation.client.server_address import api_url, chat_url, request_headers
from pytest_llmbench.load.records import Request

if TYPE_CHECKING:
    import socket
    import ssl

    from pytest_llmbench.generation.client.answer_judge import Ending, Failure
    from pytest_llmbench.load.records import Finish

_LONGEST_RETRY_AFTER_S = 30.0
"""Nobody waits longer for a server that refuses: the trial would only take longer to say so."""

_KEPT_S = 3600.0  # longer than anybody thinks: that a connection ends is the server's choice


@dataclasses.dataclass(frozen=True, slots=True)
class ChatServer:
    """Where the questions go and what each carries besides its messages (`model`, `max_tokens`, `temperature`, ...).

    A key that is None in `body` is not sent, which also takes out `stream_options` for servers that refuse it. `url` is
    the API's root. `timeout_s` ends an answer that hangs. `tls` is True for the system's authorities, or a context of
    one's own. With `system_role` "user" a system prompt is sent in the first user turn.
    """

    url: str
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)  # they hold the key
    stream: bool = True
    timeout_s: float = 30.0
    tls: ssl.SSLContext | bool = True
    system_role: str = "system"

    @property
    def standing(self) -> dict[str, Any]:
        """What each request carries besides its messages, how it is answered included."""
        usage = {"stream_options": {"include_usage": True}} if self.stream else {}
        return {"stream": self.stream, **usage, **self.body}

    @classmethod
    def at(cls, url: str, headers: Mapping[str, str] | None = None, **rest: Any) -> Self:
        """The server at a URL as people write it, with the key of `LLMBENCH_API_KEY`.

        Raises:
            UsageError: it is no URL, or a header cannot be sent.
        """
        return cls(api_url(url), headers=request_headers(headers or {}, os.environ.get("LLMBENCH_API_KEY", "")), **rest)


class Call:
    """One question while it is asked, and after. Times are monotonic seconds.

    `retry_after_s` is how long the server that refused it asked not to be asked again.
    """

    def __init__(self, user: int, message: int) -> None:
        self.user = user
        self.message = message
        self.started = time.monotonic()
        self.answer = Answer()
        self.ended: float | None = None
        self.finish: Finish = "aborted"
        self.error: str | None = None
        self.failure: Failure | None = None
        self.retry_after_s = 0.0

    def end(
        self, finish: Finish, error: str | None = None, at: float | None = None, failure: Failure | None = None
    ) -> None:
        """Note how it ended."""
        self.finish, self.error, self.ended, self.failure = finish, error, at or time.monotonic(), failure

    @property
    def cut_in_mid_answer(self) -> bool:
        """Whether it was waited for no longer while the server was answering, which is no failure of the server's."""
        return self.failure == "late" and self.answer.first_visible_at is not None

    def record(self, origin: float, now: float) -> Request:
        """What is known of it, on a clock that starts at `origin`; a call that has not ended is aborted `now`."""
        times = itertools.pairwise(self.answer.token_times)
        return dataclasses.replace(self.glimpse(origin, now), gaps_s=tuple(round(b - a, 6) for a, b in times))

    def glimpse(self, origin: float, now: float) -> Request:
        """As `record`, without the times between tokens: quick enough to ask again and again."""
        answer = self.answer
        ended = self.ended or answer.ended_at or now  # what a server sends after an answer's end is not waited for
        return Request(
            user=self.user,
            message=self.message,
            started_s=self.started - origin,
            first_reasoning_s=_since(origin, answer.first_at) if _reasoned(answer) else None,
            first_token_s=_since(origin, answer.first_visible_at),
            ended_s=ended - origin,
            tokens=answer.tokens,
            tokens_counted=answer.counted,
            finish=self.finish,
            error=self.error,
            prompt_tokens=answer.prompt_tokens,
            left_open=answer.left_open,
            failure=self.failure,
        )


class UserConnection:
    """The one connection of one user, kept from message to message. An async context manager; leaving it closes it."""

    def __init__(self, server: ChatServer, addresses: AddressBook) -> None:
        self._server = server
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "identity", **server.headers},  # compression would hold tokens back
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=_KEPT_S, resolver=addresses, ssl=server.tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[noting_reuse()],
        )
        self._wire = Wire(self._session, chat_url(server.url), server.headers, server.timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, call: Call, messages: Sequence[Mapping[str, str]]) -> None:
        """Ask, and note in `call` what comes. Cancelling closes the connection, so that the server can stop.

        Raises:
            ServerError: the server says that the question itself is wrong (its key, its model, its size).
        """
        body = request_body(self._server.standing, messages, system_role=self._server.system_role)
        ending = await self._wire.ask(body, call.answer)
        if ending.failure == "stale":
            ending = await self._wire.ask(body, call.answer)
        self._conclude(call, ending)

    def _conclude(self, call: Call, ending: Ending) -> None:
        call.answer.left_open = ending.left_open
        if ending.finish == "timeout":
            call.end("error", f"no end of the answer in {self._server.timeout_s:g} s", ending.ended_at, "late")
            return
        call.end(ending.finish, ending.error, ending.ended_at, ending.failure)
        if refused := ending.refusal:
            call.retry_after_s = min(_LONGEST_RETRY_AFTER_S, refused.wait_s)
            if refused.about != "passing":
                todo = refused.advice or "no load makes this request right; mend the request's settings"
                raise ServerError(
                    f"POST {self._wire.url}: {refused.reason}; {todo}", status=refused.status, names=refused.names
                )


class AddressBook(AbstractResolver):
    """Looks a host's address up once for all users: thousands of look-ups at once would be part of their latency."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._found: dict[tuple[str, int], asyncio.Task[list[ResolveResult]]] = {}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily | int = 0) -> list[ResolveResult]:
        """The addresses of the host."""
        key = host, port
        if key not in self._found or _failed(self._found[key]):
            self._found[key] = asyncio.ensure_future(self._resolver.resolve(host, port, family))  # type: ignore[arg-type]
        return list(await asyncio.shield(self._found[key]))

    async def close(self) -> None:
        """Nothing to close: the book is shared, and a user who leaves does not take it along."""


def _failed(look_up: asyncio.Task[list[ResolveResult]]) -> bool:
    return look_up.done() and (look_up.cancelled() or look_up.exception() is not None)


def _reasoned(answer: Answer) -> bool:
    return answer.first_at is not None and answer.first_at != answer.first_visible_at


def _since(origin: float, at: float | None) -> float | None:
    return None if at is None else at - origin
