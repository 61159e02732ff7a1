"""Asking an OpenAI-compatible server over HTTP: one question, its retries, and what kind of end it came to.

What is asked again: a refusal (429, 5xx) or a connection lost before the first byte of the answer, at most `retries`
times. Once a byte of the answer has come, it is never asked again: the server has worked, and a second answer would
hide the fault. A kept-alive connection that the server closed meanwhile is not a failure and not counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import aiohttp

from pytest_llmbench.errors import ServerError
from pytest_llmbench.generation.chat_answer import Answer, BrokenAnswerError
from pytest_llmbench.generation.chat_exchange import Exchange, Refused, exchange, noting_reuse, refusal_text, without
from pytest_llmbench.generation.retry_waits import LONGEST_WAIT_S, backoff_s, retry_after_s
from pytest_llmbench.generation.told_answer import ToldAnswer

if TYPE_CHECKING:
    import ssl

    from pytest_llmbench.records import Finish

_NOT_FOUND = 404
_TOO_MANY = 429
_SERVER_FAULT = 500
_UNAUTHORISED = (401, 403)


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """How one question ended. `tokens_counted` tells that `completion_tokens` counts stream events, not usage."""

    text: str
    finish: Finish
    latency_s: float
    first_token_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_counted: bool = False
    fingerprint: str | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    """An attempt that ended before the answer began. `wait_s` is None when asking again is no use."""

    reason: str
    wait_s: float | None = 0.0
    unreachable: bool = False


class _StaleConnectionError(Exception):
    """The server had closed the kept-alive connection that the question was sent on."""


class ChatClient:
    """A connection pool to one server. Made, used and closed inside one event loop."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        connections: int,
        timeout_s: float,
        retries: int,
        tls: ssl.SSLContext | bool = True,  # noqa: FBT001, FBT002  # as aiohttp says it: True is the usual check
    ) -> None:
        self.url = url
        self.retried = 0
        self._timeout_s = timeout_s
        self._retries = retries
        self._headers = headers
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=connections, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[noting_reuse()],
        )

    async def get(self, url: str, timeout_s: float) -> tuple[int, Any]:
        """Status and JSON body of a GET; the body is None when it is not JSON.

        Raises:
            ServerError: nobody answers there, or the key is refused.
        """
        status, text = await self.get_text(url, timeout_s)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, None

    async def get_text(self, url: str, timeout_s: float) -> tuple[int, str]:
        """Status and body of a GET.

        Raises:
            ServerError: nobody answers there, or the key is refused.
        """
        try:
            async with asyncio.timeout(timeout_s), self._session.get(url) as response:
                if response.status in _UNAUTHORISED:
                    raise self._fatal(response.status, await refusal_text(response))
                return response.status, await response.text(errors="replace")
        except TimeoutError as error:
            raise ServerError(f"{self.url}: no answer in {timeout_s:g} s; is this the server's address?") from error
        except aiohttp.ClientError as error:
            raise ServerError(f"{self.url}: {error}; start the server, or correct --llmbench-server") from error

    async def ask(self, body: Mapping[str, Any], told: Callable[[str], None] | None = None) -> Reply:
        """Ask for one chat completion. Faults of the answer are in the reply. `told` hears its text as it arrives.

        Raises:
            ServerError: asking anything more is no use: nobody answers there any longer, or key or model are refused.
        """
        attempt, started = 0, time.monotonic()
        while True:
            try:
                outcome = await self._attempt(body, told)
            except _StaleConnectionError:
                continue
            if isinstance(outcome, Reply):
                return outcome
            if outcome.wait_s is None or attempt == self._retries:
                return self._given_up(outcome, attempt + 1, started)
            await asyncio.sleep(max(outcome.wait_s, backoff_s(attempt)))
            attempt += 1
            self.retried += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _attempt(self, body: Mapping[str, Any], told: Callable[[str], None] | None) -> Reply | _Refusal:
        answer = ToldAnswer(told) if told else Answer()
        progress, started = Exchange(), time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                refused = await exchange(self._session, f"{self.url}/chat/completions", body, answer, progress)
            refusal = self._refused(refused) if refused else None
        except TimeoutError:
            return _reply(answer, started, None if answer.complete else "timeout")
        except BrokenAnswerError as error:
            return _reply(answer, started, "error", self._clean(str(error)))
        except aiohttp.ClientError as error:
            if answer.complete:  # the text is whole, only the goodbye was lost
                return _reply(answer, started)
            if progress.begun:
                return _reply(answer, started, "error", f"the server closed the connection in mid-answer ({error!r})")
            if progress.reused_connection:
                raise _StaleConnectionError from error
            refusal = _Refusal(str(error) or repr(error), unreachable=isinstance(error, aiohttp.ClientConnectorError))
        return refusal or _reply(answer, started)

    def _refused(self, refused: Refused) -> _Refusal:
        status, reason = refused.status, refused.reason
        if status in (*_UNAUTHORISED, _NOT_FOUND):
            raise self._fatal(status, reason)
        reason = f"HTTP {status}: {self._clean(reason)}"
        if status != _TOO_MANY and status < _SERVER_FAULT:
            return _Refusal(reason, wait_s=None)
        asked_s = retry_after_s(refused.retry_after)
        if asked_s > LONGEST_WAIT_S:
            return _Refusal(f"{reason} (asks to wait {asked_s:.0f} s, too long)", wait_s=None)
        return _Refusal(reason, asked_s)

    def _given_up(self, refusal: _Refusal, attempts: int, started: float) -> Reply:
        if refusal.unreachable:
            raise ServerError(
                f"{self.url}: gone, {attempts} tries to connect failed ({refusal.reason}); "
                "start the server again, what it answered is kept"
            )
        tries = f" ({attempts} tries)" if attempts > 1 else ""
        return Reply("", "error", time.monotonic() - started, error=refusal.reason + tries)

    def _fatal(self, status: int, reason: str) -> ServerError:
        if status == _NOT_FOUND:
            todo = "check --llmbench-server and --llmbench-server-model"
        else:
            todo = "set the server's key in LLMBENCH_API_KEY"
        return ServerError(f"{self.url}: HTTP {status}: {self._clean(reason)}; {todo}")

    def _clean(self, text: str) -> str:
        """The text without the secrets of the request's headers, which some servers echo."""
        return without(text, self._headers)


def _reply(answer: Answer, started: float, finish: Finish | None = None, error: str | None = None) -> Reply:
    if answer.finish_reason == "content_filter" and finish is None:
        finish, error = "error", "the server's content filter withheld the answer"
    ended = answer.last_at if finish is None and answer.last_at is not None else time.monotonic()
    counted = answer.completion_tokens is None and answer.deltas > 0
    return Reply(
        text=answer.text,
        finish=finish or ("length" if answer.finish_reason == "length" else "stop"),
        latency_s=ended - started,
        first_token_s=None if answer.first_at is None else answer.first_at - started,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.deltas if counted else answer.completion_tokens,
        tokens_counted=counted and finish is None,
        fingerprint=answer.fingerprint,
        error=error,
    )
