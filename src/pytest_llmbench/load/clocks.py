"""Clocks of other machines: how far each is from this one's, and what happened there in this machine's time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from pytest_llmbench.generation.client.chat_answer import Answer
from pytest_llmbench.load.worker import End, Live, Meet, WorkerReport

_ROUNDS = 8
_Named = TypeVar("_Named")

Reading = tuple[float, float]
"""Of one machine at one moment: seconds of its monotonic clock, and those of its wall clock since 1970."""


def reading() -> Reading:
    """What the clocks of this machine show."""
    return time.monotonic(), time.time()


@dataclasses.dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far another machine's clocks are ahead of this one's, in seconds, and by how much that may be wrong.

    `ahead_s` is of the monotonic clocks, which every machine counts from a moment of its own: it only translates times.
    `skew_s` is of the wall clocks.
    """

    ahead_s: float
    skew_s: float
    error_s: float


async def compared(ask: Callable[[], Awaitable[Reading]], rounds: int = _ROUNDS) -> ClockOffset:
    """Ask another machine for the time again and again; the quickest answer tells most (RFC 5905, section 8).

    The other clock was read somewhere between question and answer: half of that time is the most it can be wrong by.
    """
    found = []
    for _ in range(rounds):
        before = reading()
        there = await ask()
        after = reading()
        half = (after[0] - before[0]) / 2
        ahead, skew = (there[clock] - (before[clock] + after[clock]) / 2 for clock in (0, 1))
        found.append(ClockOffset(ahead, skew, half))
    return min(found, key=lambda one: one.error_s)


def order_there(order: object, offset: ClockOffset) -> object:
    """An order whose moment is told in the other machine's time."""
    if isinstance(order, Live):
        return dataclasses.replace(order, starts_at=order.starts_at + offset.ahead_s)
    if isinstance(order, Meet):
        return Meet(order.at + offset.ahead_s)
    return order


def report_here(report: WorkerReport, offset: ClockOffset) -> WorkerReport:
    """A report from another machine with all its times in this one's."""
    by = -offset.ahead_s
    closing = report.closing
    if closing is not None:
        unfinished = {number: _answer(answer, by) for number, answer in closing.unfinished.items()}
        closing = dataclasses.replace(closing, unfinished=unfinished)
    return dataclasses.replace(
        report,
        known_until=report.known_until + by,
        begun=[(user, message, at + by) for user, message, at in report.begun],
        first_tokens=_moved(report.first_tokens, by),
        whole=_moved(report.whole, by),
        ended={number: _end(end, by) for number, end in report.ended.items()},
        closing=closing,
    )


def _moved(times: Mapping[_Named, float], by: float) -> dict[_Named, float]:
    return {name: at + by for name, at in times.items()}


def _end(end: End, by: float) -> End:
    return dataclasses.replace(end, at=end.at + by, answer=_answer(end.answer, by))


def _answer(answer: Answer, by: float) -> Answer:
    first, ended = answer.first_visible_at, answer.ended_at
    return dataclasses.replace(
        answer,
        token_times=[at + by for at in answer.token_times],
        first_visible_at=None if first is None else first + by,
        ended_at=None if ended is None else ended + by,
    )
