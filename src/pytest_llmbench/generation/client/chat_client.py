"""Asking an OpenAI-compatible server over HTTP: one question and its HTTP retries, and the pages beside the questions.

What is asked again: a refusal that may pass (429, 5xx) or a connection lost before the first byte of the answer, at
most `retries` times. Once a byte of the answer has come, it is never asked again: the server has worked, and a second
answer would hide the fault. A kept-alive connection that the server closed meanwhile is not a failure and not counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import aiohttp

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.answer_judge import LOST, Ending
from pytest_llmbench.generation.client.chat_answer import Answer, ToldAnswer
from pytest_llmbench.generation.client.chat_exchange import SUCCESS, Wire, noting_reuse, refused, without
from pytest_llmbench.generation.client.refusals import LONGEST_WAIT_S, Page, Refusal, Sent, backoff_s, unreachable
from pytest_llmbench.generation.client.server_address import chat_url

if TYPE_CHECKING:
    import ssl

    from pytest_llmbench.core.records import Finish

_ALONE = {"Connection": "close"}  # the connections that are kept are for questions
_CONNECT_SHARE = 0.5  # of the time for a page: who has not connected by then is not there


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """How one question ended.

    `text` is the answer alone, `reasoning` what was thought before it, `tool_calls` what the server took for calls.
    `tokens_counted` tells that `completion_tokens` counts stream events, not usage; `left_open` that the server did not
    end the stream.
    """

    text: str
    finish: Finish
    latency_s: float
    first_token_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_counted: bool = False
    fingerprint: str | None = None
    error: str | None = None
    reasoning: str | None = None
    left_open: bool = False
    tool_calls: tuple[Mapping[str, Any], ...] = ()


class ChatClient:
    """A connection pool to one server. Made, used and closed inside one event loop. `url` is the API's root."""

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

    async def get(self, url: str, timeout_s: float) -> Page:
        """A page of the server, or why there is none. Redirects are not followed: they might take the key elsewhere.

        Raises:
            ServerError: nobody answers there.
        """
        return await self._page(Sent("GET", url), timeout_s)

    async def post(self, url: str, body: Mapping[str, Any], timeout_s: float) -> Page:
        """What a page of the server says to a JSON body, such as `/tokenize`; else as `get`.

        Raises:
            ServerError: nobody answers there.
        """
        return await self._page(Sent("POST", url, body), timeout_s)

    async def _page(self, sent: Sent, timeout_s: float) -> Page:
        limit = aiohttp.ClientTimeout(timeout_s, sock_connect=timeout_s * _CONNECT_SHARE)
        asked = self._session.request(
            sent.method, sent.url, json=sent.body or None, timeout=limit, allow_redirects=False, headers=_ALONE
        )
        try:
            async with asked as response:
                text = await response.text(errors="replace")
                why = None if response.status in SUCCESS else refused(sent, response, text, self._headers)
                return Page(sent, response.status, text, response.headers.get("Server"), why)
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, aiohttp.ClientError) and (lost := unreachable(error)):
                raise ServerError(f"{self.url}: {lost.reason}; {lost.advice}", names=lost.names) from error
            why = Refusal(_no_page(error, timeout_s), "passing", "check server.url", names=("server.url",))
            return Page(sent, 0, "", refused=why)

    async def ask(self, body: Mapping[str, Any], told: Callable[[str], None] | None = None) -> Reply:
        """Ask for one chat completion. Faults of the answer are in the reply. `told` hears its text as it arrives.

        Raises:
            ServerError: asking anything more is no use: nobody answers there any longer, or key or model are refused.
        """
        wire = Wire(self._session, chat_url(self.url), self._headers, self._timeout_s)
        attempt, begun = 0, time.monotonic()
        while True:
            answer, started = ToldAnswer(told) if told else Answer(), time.monotonic()
            ending = await wire.ask(body, answer)
            wait_s = _wait_s(ending)
            if ending.failure == "stale":
                continue
            if wait_s is None or attempt == self._retries:
                break
            await asyncio.sleep(max(wait_s, backoff_s(attempt)))
            attempt += 1
            self.retried += 1
        if isinstance(answer, ToldAnswer):
            answer.tell_rest()
        self._raise_fatal(ending, attempt + 1)
        reply = _reply(answer, ending, started)
        if ending.refusal or ending.failure in LOST:
            why = _with_tries(ending, attempt + 1, time.monotonic() - begun)
            return dataclasses.replace(reply, error=without(why, self._headers))
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _raise_fatal(self, ending: Ending, attempts: int) -> None:
        if ending.failure == "unreachable":
            raise ServerError(
                f"{self.url}: gone, {attempts} tries to connect failed ({ending.error}); "
                "start the server again, what it answered is kept"
            )
        if ending.refusal and ending.refusal.about == "server":
            refused = ending.refusal
            raise ServerError(f"POST {chat_url(self.url)}: {refused}", names=refused.names, status=refused.status)


def _no_page(error: aiohttp.ClientError | TimeoutError, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"not an answer in HTTP: {error.message}"
    return "it closed the connection"


def _wait_s(ending: Ending) -> float | None:
    """Seconds until it makes sense to ask again; None where it makes none."""
    if ending.refusal is None:
        return 0.0 if ending.failure in LOST else None
    passing = ending.refusal.about == "passing" and ending.refusal.wait_s <= LONGEST_WAIT_S
    return ending.refusal.wait_s if passing else None


def _with_tries(ending: Ending, attempts: int, waited_s: float) -> str:
    """Why the question was given up, how often and how long it was tried, and what to do."""
    why, refused = str(ending.error), ending.refusal
    if refused and refused.wait_s > LONGEST_WAIT_S:
        return f"{why} (asks to wait {refused.wait_s:.0f} s, too long)"
    if attempts > 1:
        why += f" ({attempts} tries in {waited_s:.1f} s)" if refused and refused.advice else f" ({attempts} tries)"
    return f"{why}; {refused.advice}" if refused and refused.advice else why


def _reply(answer: Answer, ending: Ending, started: float) -> Reply:
    return Reply(
        text=answer.text.strip(),
        finish=ending.finish,
        latency_s=ending.ended_at - started,
        first_token_s=None if answer.first_at is None else answer.first_at - started,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.tokens,
        tokens_counted=answer.counted and ending.finish in ("stop", "length"),
        fingerprint=answer.fingerprint,
        error=ending.error,
        reasoning=answer.reasoning,
        left_open=ending.left_open,
        tool_calls=answer.calls.calls,
    )
