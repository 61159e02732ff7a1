"""A load generator that was not there, or that could not keep up, tells nothing of a server."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import Serve, calibrated_servers

from pytest_llmbench.load import client_overhead
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.reasons import BOTTLENECKS
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.slo import Allowed
from pytest_llmbench.load.trial import LoadTest, TrialLimits
from pytest_llmbench.load.users import Habits

FROZEN_S = 0.9
PLENTY = Calibration(slots=64, full_speed=64)
Arrivals = Literal["staggered", "poisson"]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)
    with calibrated_servers() as start:
        yield start


def trial(
    serve: Serve, arrivals: Arrivals, meanwhile: Callable[[LoadTest], None], *, processes: int = 1, **limits: Any
) -> Trial:
    """A trial of 8 users, or 40 a second, whose answers take 0.05 s; `meanwhile` happens 0.6 s after its beginning."""

    async def run() -> Trial:
        talks, habits = Conversations([Conversation(("bonjour",))]), Habits(arrivals, cooldown_s=0.2)
        any_client = {"max_loop_lag_s": 0.25, "max_client_cpu": 9.0}  # the machine that tests run on is seldom free
        chosen = TrialLimits(**{"error_rate": 0.0, "warm_up_s": 0.1, "drain_s": 10.0, **any_client, **limits})
        server = ChatServer.at(serve(PLENTY).url)
        async with LoadTest(server, talks, habits, SLO(0.9, 3.0), chosen, processes) as load:
            if processes > 1:
                await load.trial(2, 2)  # their start is not what is frozen here
            asyncio.get_running_loop().call_later(0.6, meanwhile, load)
            return await load.trial(8 if arrivals == "staggered" else 40.0, 60)

    return asyncio.run(run())


@pytest.mark.parametrize("arrivals", ["staggered", "poisson"])
def test_a_load_generator_that_stands_still_once_makes_the_trial_invalid(serve: Serve, arrivals: Arrivals) -> None:
    made = trial(serve, arrivals, lambda _: time.sleep(FROZEN_S))
    assert made.verdict == "invalid"
    assert made.why.code == "client_stood_still"
    assert made.reason.startswith("the load generator itself stood still for ")
    assert "0.3 s are allowed" in made.reason
    assert made.standstill_s > FROZEN_S / 2


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
@pytest.mark.parametrize("arrivals", ["staggered", "poisson"])
def test_one_frozen_process_of_several_makes_the_trial_invalid(serve: Serve, arrivals: Arrivals) -> None:
    timers: list[threading.Timer] = []

    def freeze(load: LoadTest) -> None:
        assert load._workers is not None
        pid = load._workers._workers[1]._process.pid
        os.kill(pid, signal.SIGSTOP)
        timers.append(threading.Timer(FROZEN_S, os.kill, (pid, signal.SIGCONT)))
        timers[0].start()

    made = trial(serve, arrivals, freeze, processes=2)
    timers[0].join()
    assert (made.verdict, made.processes) == ("invalid", 2)
    assert made.why.code == "client_stood_still"
    assert made.standstill_s > FROZEN_S / 2


def test_a_machine_that_slept_makes_the_trial_invalid_though_its_clock_slept_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    true_now = client_overhead.now
    monkeypatch.setattr(client_overhead, "now", lambda: true_now() + sum(slept))
    made = trial(serve, "staggered", lambda _: slept.append(60.0))
    assert made.verdict == "invalid"
    assert made.reason.startswith("the load generator itself stood still for 60 s")


def test_a_hiccup_that_makes_no_answer_late_is_borne(serve: Serve) -> None:
    made = trial(serve, "staggered", lambda _: time.sleep(0.15), max_standstill_s=0.6)
    assert made.reason.startswith("60 of 60 answers")
    assert made.standstill_s > 0.1


@pytest.mark.parametrize(("limit_s", "standstill_s"), [(0.2, 0.1), (1.0, 0.25), (3.0, 0.3), (30.0, 3.0)])
def test_the_promise_says_how_long_a_standstill_may_be(limit_s: float, standstill_s: float) -> None:
    assert Allowed.by(TrialLimits(), SLO(limit_s=limit_s)).standstill_s == pytest.approx(standstill_s)
    assert Allowed.by(TrialLimits(max_loop_lag_s=9.0), SLO(limit_s=limit_s)).standstill_s == 9.0


def test_what_is_late_again_and_again_is_the_bottleneck_and_what_stands_still_once_is_not() -> None:
    allowed = Allowed.by(TrialLimits(), SLO())
    late, busy, frozen = (allowed.fault(*own) for own in ((0.05, 1.0, 0.1), (0.01, 1.0, 0.99), (0.01, 1.0, 0.1)))
    assert late is not None
    assert (late.why.code, late.why.code in BOTTLENECKS) == ("client_late", True)  # where more processes help
    assert busy is not None
    assert (busy.why.code, busy.why.code in BOTTLENECKS) == ("client_busy", True)
    assert frozen is not None
    assert (frozen.why.code, frozen.why.code in BOTTLENECKS) == ("client_stood_still", False)
    assert allowed.fault(0.01, 0.1, 0.1) is None


def test_who_is_cancelled_while_the_users_leave_is_cancelled() -> None:
    async def leaving() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)

    async def caller() -> None:
        async with client_overhead.meanwhile(leaving()):
            await asyncio.sleep(0)

    async def interrupted() -> None:
        task = asyncio.create_task(caller())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
