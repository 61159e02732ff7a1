"""Times of a machine whose clock counts from another moment."""

from __future__ import annotations

import asyncio

import pytest

from pytest_llmbench.generation.client.chat_answer import Answer
from pytest_llmbench.load.clocks import ClockOffset, Reading, compared, order_there, reading, report_here
from pytest_llmbench.load.worker import Closing, End, Meet, Stop, WorkerReport

AHEAD = ClockOffset(ahead_s=1000.0, skew_s=0.25, error_s=0.001)


def test_another_clock_is_known_to_within_half_the_quickest_answer() -> None:
    waits = iter([0.03, 0.0, 0.02])

    async def ask() -> Reading:
        await asyncio.sleep(next(waits))
        monotonic, wall = reading()
        return monotonic + 1000, wall - 5

    found = asyncio.run(compared(ask, rounds=3))
    assert found.error_s < 0.01
    assert found.ahead_s == pytest.approx(1000, abs=found.error_s)
    assert found.skew_s == pytest.approx(-5, abs=found.error_s + 0.01)


def test_every_time_of_a_report_becomes_one_of_this_machine() -> None:
    told = Answer(content="hi", token_times=[1003.5, 1004.0], first_visible_at=1003.5, ended_at=1004.0)
    going_on = Answer(token_times=[1005.0])
    report = WorkerReport(
        known_until=1010.0,
        begun=[(7, 0, 1003.0)],
        first_tokens={3: 1003.5},
        ended={3: End("stop", None, None, 1004.5, told)},
        fatal=None,
        gone=None,
        gathered=1,
        standstill_s=0.5,
        closing=Closing(0.1, 0.2, 4, {5: going_on}),
        whole={3: 1004.0},
    )
    here = report_here(report, AHEAD)
    assert (here.known_until, here.begun, here.first_tokens, here.whole) == (10.0, [(7, 0, 3.0)], {3: 3.5}, {3: 4.0})
    ended = here.ended[3]
    assert (ended.at, ended.answer.token_times, ended.answer.first_visible_at, ended.answer.ended_at) == (
        4.5,
        [3.5, 4.0],
        3.5,
        4.0,
    )
    assert here.closing
    assert here.closing.unfinished[5].token_times == [5.0]
    assert (here.standstill_s, here.closing.lag_s, ended.answer.content) == (0.5, 0.1, "hi")
    assert told.token_times == [1003.5, 1004.0]


def test_the_moment_of_an_order_is_told_in_the_other_machines_time() -> None:
    assert order_there(Meet(5.0), AHEAD) == Meet(1005.0)
    assert order_there(Stop(), AHEAD) == Stop()
