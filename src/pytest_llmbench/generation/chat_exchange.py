"""One question and its answer on the wire, as the benchmark's client and the load users both send it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from pytest_llmbench.generation.chat_answer import Answer, error_text, read_stream, read_whole

_OK = 200
_WHOLE_BODIES = ("application/json", "text/html")  # a page of HTML is an error whose text is worth showing
_GOODBYE_S = 1.0
_SHORTEST_SECRET = 8


@dataclasses.dataclass(slots=True)
class Exchange:
    """How far one attempt came, for telling a lost connection from a lost answer. Times are monotonic seconds."""

    reused_connection: bool = False
    begun: bool = False
    answered_at: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """The server answered with an error status."""

    status: int
    reason: str
    retry_after: str | None


def noting_reuse() -> aiohttp.TraceConfig:
    """What a session needs for its `Exchange`s to know that they went over a connection that was used before."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return trace


async def exchange(
    session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], answer: Answer, progress: Exchange
) -> Refused | None:
    """Send one question and read its answer into `answer`, to the end of the body, so that the connection is kept.

    Cancelling it closes the connection, which is how a server learns that it can stop.

    Raises:
        BrokenAnswerError: the answer is not what the protocol allows.
        aiohttp.ClientError: the connection could not be made, or broke.
    """
    async with session.post(url, json=body, trace_request_ctx=progress) as response:
        if response.status != _OK:
            return Refused(response.status, await refusal_text(response), response.headers.get("Retry-After"))
        progress.begun = True
        if response.content_type in _WHOLE_BODIES:
            read_whole(await response.read(), answer)
            progress.answered_at = time.monotonic()
        else:
            await read_stream(response.content.iter_any(), answer)
            progress.answered_at = time.monotonic()
            await _read_to_end(response)
        return None


async def refusal_text(response: aiohttp.ClientResponse) -> str:
    """The human part of an error answer."""
    text = await response.text(errors="replace")
    try:
        return error_text(json.loads(text))
    except ValueError:
        return text.strip()[:300] or response.reason or "no reason given"


def without(text: str, headers: Mapping[str, str]) -> str:
    """The text without the secrets of the request's headers, which some servers echo."""
    for value in headers.values():
        secret = value.removeprefix("Bearer ")
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


async def _read_to_end(response: aiohttp.ClientResponse) -> None:
    """Read what follows `[DONE]`, so that the connection can be used again; a server that never ends it is cut off."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GOODBYE_S):
            await response.content.read()


async def _note_reuse(_session: aiohttp.ClientSession, context: Any, _params: Any) -> None:
    if isinstance(context.trace_request_ctx, Exchange):
        context.trace_request_ctx.reused_connection = True
