"""What an answer came to: the one judge of both clients, of the benchmark's questions and of the simulated users'.

Lenient in form, strict in meaning: an answer counts where the server said that it is whole, and only then. What says
nothing but that something went wrong is a failure with its reason, however much text came before.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Literal

import aiohttp

from pytest_llmbench.generation.client.chat_answer import Answer, BrokenAnswerError, ReportedError
from pytest_llmbench.generation.client.refusals import Refusal, unreachable

WHOLE = frozenset(
    (
        *("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "stop_str", "stopped", "end"),
        *("complete", "completed", "finish", "finished", "done", "normal", "success"),
        *("tool_calls", "tool_call", "tool_use", "function_call"),
    )
)
"""Reasons to end that servers give for a whole answer, in small letters."""

CUT_OFF = frozenset(("length", "max_tokens", "max_length", "max_new_tokens", "model_length", "max_output_tokens"))
"""Reasons to end of an answer that a limit of tokens ended."""

_WITHHELD = "the server's content filter withheld the answer"
_RACE_S = 1.0
"""A kept connection lost later than this after the question was sent was lost by a server at work, not by the race."""


Failure = Literal["unreachable", "stale", "unanswered", "closed", "not_http", "broken", "refused", "no_answer", "late"]
"""Of which kind an error is. The first four are the connection's: "unreachable" was never made, "stale" was a kept one
that the server had closed before the question reached it, which is nobody's fault, "unanswered" ended before the first
byte, and "closed" in mid-answer. "no_answer" is one that came to its end and is none, "late" one that was waited for no
longer."""

LOST: frozenset[Failure | None] = frozenset({"unreachable", "stale", "unanswered", "not_http"})
"""Nothing of an answer came, so that asking again costs nobody anything."""

DROPPED: frozenset[Failure | None] = frozenset({"unreachable", "stale", "unanswered", "closed"})
"""The server was not there, or went away."""


@dataclasses.dataclass(slots=True)
class Attempt:
    """How far one attempt came, for telling a lost connection from a lost answer."""

    started: float = dataclasses.field(default_factory=time.monotonic)
    reused_connection: bool = False
    begun: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """How one attempt ended; `ended_at` is in monotonic seconds.

    `error` is the reason of an "error" in words and `failure` its kind; a "timeout" needs none. `refusal` is set where
    the server refused the question.
    `left_open` tells that the server did not end the stream after the answer.
    """

    finish: Literal["stop", "length", "timeout", "error"]
    ended_at: float
    error: str | None = None
    refusal: Refusal | None = None
    failure: Failure | None = None
    left_open: bool = False


def ending_of(answer: Answer, exchange: Attempt, fault: Exception | Refusal | None = None) -> Ending:
    """What came of a question, by what arrived and by what ended it before its end."""
    now = time.monotonic()
    if isinstance(fault, Refusal):
        return Ending("error", now, fault.reason, refusal=fault, failure="refused")
    if isinstance(fault, ReportedError) or (fault is not None and not answer.complete):
        return _failed(exchange, fault, now)
    ended_at = answer.ended_at or now
    left_open = answer.left_open or isinstance(fault, TimeoutError)
    reason = (answer.finish_reason or "stop").casefold()
    if error := _failure(answer, reason):
        return Ending("error", ended_at, error, failure="no_answer", left_open=left_open)
    return Ending("length" if reason in CUT_OFF else "stop", ended_at, left_open=left_open)


def _failure(answer: Answer, reason: str) -> str | None:
    """Why an answer that ended is none; None where it is one."""
    if reason == "content_filter":
        return _WITHHELD
    if reason not in WHOLE | CUT_OFF:
        return f"the server gave the answer up (finish reason {answer.finish_reason!r})"
    nothing = not answer.deltas and not answer.completion_tokens and not answer.text and not answer.reasoning
    may_be_cut = reason in CUT_OFF and answer.completion_tokens is None  # a token may be no text, but none is no answer
    return "the answer is empty" if nothing and not may_be_cut else None


def _failed(exchange: Attempt, fault: Exception, now: float) -> Ending:
    """An attempt that something ended before the answer's end."""
    if isinstance(fault, BrokenAnswerError):
        return Ending("error", now, str(fault), failure="broken")
    if isinstance(fault, aiohttp.ClientError) and (no_connection := unreachable(fault)):
        return Ending("error", now, no_connection.reason, failure="unreachable")
    if isinstance(fault, TimeoutError):
        return Ending("timeout", now)
    if isinstance(fault, aiohttp.ClientResponseError):
        return Ending("error", now, f"not an answer in HTTP: {fault.message}", failure="not_http")
    if exchange.begun:
        return Ending("error", now, "the server closed the connection in mid-answer", failure="closed")
    stale = exchange.reused_connection and now - exchange.started < _RACE_S
    failure: Failure = "stale" if stale else "unanswered"
    return Ending("error", now, "the server closed the connection before it answered", failure=failure)
