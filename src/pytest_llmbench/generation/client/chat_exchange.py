"""One question and its answer on the wire, as the benchmark's client and the load users both send it."""

from __future__ import annotations

import asyncio
import codecs
import dataclasses
import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import aiohttp

from pytest_llmbench.generation.client.answer_body import read_body
from pytest_llmbench.generation.client.answer_judge import Attempt, Ending, ending_of
from pytest_llmbench.generation.client.chat_answer import Answer, BrokenAnswerError, error_text
from pytest_llmbench.generation.client.refusals import Refusal, Sent, refusal

SUCCESS = range(200, 300)
_EVENT_STREAM = "text/event-stream"
_SHORTEST_SECRET = 6
_SCHEME = re.compile(r"(?:bearer|basic|token|key|api-?key) ", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Wire:
    """Where questions go. `headers` are what the session sends along; they hold secrets that a server may echo."""

    session: aiohttp.ClientSession
    url: str
    headers: Mapping[str, str]
    timeout_s: float

    async def ask(self, body: Mapping[str, Any], answer: Answer) -> Ending:
        """Send one question and read its answer into `answer`, to the end of the body, so that the connection is kept.

        Cancelling it closes the connection, which is how a server learns that it can stop.
        """
        progress = Attempt()
        fault: Exception | Refusal | None
        try:
            async with asyncio.timeout(self.timeout_s):
                fault = await self._exchange(body, answer, progress)
        except (aiohttp.ClientError, BrokenAnswerError, TimeoutError) as error:
            fault = error
        ending = ending_of(answer, progress, fault)
        return dataclasses.replace(ending, error=without(ending.error, self.headers)) if ending.error else ending

    async def _exchange(self, body: Mapping[str, Any], answer: Answer, progress: Attempt) -> Refusal | None:
        # a redirect is not followed: it would turn the question into a GET, and might take the key to another host
        posted = self.session.post(self.url, json=body, trace_request_ctx=progress, allow_redirects=False)
        async with posted as response:
            if response.status not in SUCCESS:
                text = await response.text(errors="replace")
                return refused(Sent("POST", self.url, body), response, text, self.headers)
            progress.begun = True
            typed = bool(body.get("stream")) or response.content_type == _EVENT_STREAM
            await read_body(response.content.iter_any(), answer, typed_stream=typed, charset=_known(response.charset))
            return None


def _known(charset: str | None) -> str:
    """The charset that a server tells, else that of JSON: also where it tells none that exists."""
    try:
        return codecs.lookup(charset or "utf-8").name
    except LookupError:
        return "utf-8"


def noting_reuse() -> aiohttp.TraceConfig:
    """What a session needs for its exchanges to know that they went over a connection that was used before."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return trace


def reason_in(text: str, phrase: str | None = None) -> str:
    """The human part of an error answer's body; `phrase` is what HTTP says of the status."""
    try:
        return error_text(json.loads(text))
    except ValueError:
        return text.strip()[:300] or phrase or "no reason given"


def refused(sent: Sent, response: aiohttp.ClientResponse, text: str, headers: Mapping[str, str]) -> Refusal:
    """What a refusal with this body means. `headers` are the request's, whose secrets are told to nobody."""
    told = {name: without(value, headers) for name, value in response.headers.items()}
    return refusal(response.status, without(reason_in(text, response.reason), headers), sent, told)


def without(text: str, headers: Mapping[str, str]) -> str:
    """The text without the secrets of the request's headers, which some servers echo.

    The first half of a secret is one already: texts are cut, and some servers echo no more than the beginning.
    """
    for value in headers.values():
        secret = _SCHEME.sub("", value)
        for shown in (secret, urllib.parse.quote(secret, safe="")):
            for length in range(len(shown), max(_SHORTEST_SECRET, (len(shown) + 1) // 2) - 1, -1):
                text = text.replace(shown[:length], "***")
    return text


async def _note_reuse(_session: aiohttp.ClientSession, context: Any, _params: Any) -> None:
    if isinstance(context.trace_request_ctx, Attempt):
        context.trace_request_ctx.reused_connection = True
