"""Whole trials against the calibrated server, whose capacity follows from its slots and rates."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.calibrated_engine import Calibration
from support.calibrated_server import CalibratedServer, Serve, calibrated_servers

from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.trial import LoadTest, TrialLimits
from pytest_llmbench.load.users import Habits


@pytest.fixture
def serve() -> Iterator[Serve]:
    with calibrated_servers() as start:
        yield start


TALK = [Conversation((f"bonjour {number}",)) for number in range(30)]
ONE_SLOT = Calibration(slots=1, decode_tokens_per_s=100.0, full_speed=1)
QUICK = SLO(0.9, limit_s=0.4)
ANY_CLIENT = {"max_loop_lag_s": 9.0, "max_client_cpu": 9.0}  # the machine that tests run on is seldom free


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMBENCH_API_KEY", raising=False)


def trials(
    server: CalibratedServer,
    *plans: tuple[float, int],
    slo: SLO = QUICK,
    habits: Habits | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    target: dict[str, Any] | None = None,
    **limits: Any,
) -> list[Trial]:
    """The trials of these levels and numbers of requests, one after the other."""

    async def run() -> list[Trial]:
        asked = ChatServer.at(server.url, **(target or {}))
        people = habits or Habits(cooldown_s=0.02)
        warm_up_s = None if people.arrivals == "burst" else 0.05
        chosen = TrialLimits(**{"warm_up_s": warm_up_s, "drain_s": 10.0, **ANY_CLIENT, **limits})
        async with LoadTest(asked, Conversations(TALK), people, slo, chosen, 1) as load:
            asyncio.get_running_loop().call_later(0.1, meanwhile)
            return [await load.trial(level, requests) for level, requests in plans]

    return asyncio.run(run())


def test_a_light_load_is_surely_held_before_all_requests_are_made(serve: Serve) -> None:
    [trial] = trials(serve(), (4, 500))
    assert trial.verdict == "held"
    assert 20 < len(trial.requests) < 500
    assert {request.user for request in trial.requests} == {0, 1, 2, 3}
    assert trial.requests[0].started_s >= 0.05  # the warm-up is not judged
    assert trial.idle_after_s is not None


def test_a_drowned_server_is_surely_broken_at_once_and_left_idle(serve: Serve) -> None:
    server = serve(ONE_SLOT, answer_tokens=200)  # 0.2 s an answer, so 30 users wait 6 s
    began = time.monotonic()
    [trial] = trials(server, (30, 500), habits=Habits("burst", cooldown_s=0.02))
    assert trial.verdict == "broken"
    assert "surely fewer than 0.9" in trial.reason
    assert {request.finish for request in trial.requests} <= {"stop", "aborted"}
    assert server.busy == 0
    assert time.monotonic() - began < 6  # the time the server would need for what was asked


def test_the_next_trial_begins_on_an_idle_server_even_when_aborts_free_nothing(serve: Serve) -> None:
    server = serve(Calibration(slots=4, aborts_free_slots=False), answer_tokens=60)
    drowned, calm = trials(server, (40, 500), (1, 5), slo=SLO(0.9, 0.3), habits=Habits("burst", 1, cooldown_s=0.0))
    assert drowned.verdict == "broken"
    assert len(calm.requests) == 5
    later = server.served[drowned.sent :]
    assert later
    assert [seen.ahead for seen in later] == [0] * len(later)


def test_a_server_that_somebody_else_uses_is_not_tried(serve: Serve) -> None:
    server = serve()
    server.occupy()
    [trial] = trials(server, (1, 5), drain_s=0.2)
    assert trial.verdict == "invalid"
    assert "somebody else uses it" in trial.reason
    assert server.served == []


def test_close_to_the_edge_it_stays_undecided(serve: Serve) -> None:
    [trial] = trials(serve(), (2, 12))
    assert (trial.verdict, len(trial.requests)) == ("undecided", 12)
    assert trial.reason == "12 of 12 answers came within 0.4 s: not sure against 0.9"


def test_visitors_at_a_rate_can_be_tried_too(serve: Serve) -> None:
    [trial] = trials(serve(Calibration(slots=50, full_speed=50)), (80.0, 500), habits=Habits("poisson"))
    assert trial.verdict == "held"
    assert len({request.user for request in trial.requests}) == len(trial.requests)


def test_a_promise_on_the_first_token_is_held_by_a_server_too_slow_for_whole_answers(serve: Serve) -> None:
    server = serve(Calibration(slots=50, full_speed=50, decode_tokens_per_s=10), answer_tokens=50)
    [trial] = trials(server, (20, 400), slo=SLO(0.9, 0.4, "first_token"), error_rate=0.2)
    assert trial.verdict == "held"
    assert all(request.latency_s > 0.4 for request in trial.requests)


def test_answers_cut_off_after_their_first_token_keep_a_promise_of_first_tokens(serve: Serve) -> None:
    server = serve(Calibration(slots=50, full_speed=50, decode_tokens_per_s=10), answer_tokens=500)
    [trial] = trials(server, (6, 40), slo=SLO(0.9, 0.4, "first_token"), target={"timeout_s": 0.6}, error_rate=0.2)
    assert {request.failure for request in trial.requests} == {"late"}
    assert (trial.verdict, trial.why.values.get("failed")) == ("held", None)
    asked = [[request for request in trial.requests if request.user == user] for user in range(6)]
    again = [later.started_s - sooner.ended_s for one in asked for sooner, later in itertools.pairwise(one)]
    assert min(again) < 0.25  # nobody waits as after a failure


@pytest.mark.parametrize("status", [429, 500])
def test_a_storm_of_refusals_breaks_the_promise_and_is_named(serve: Serve, status: int) -> None:
    [trial] = trials(serve(fault=lambda _: status), (5, 100))
    assert trial.verdict == "broken"
    assert trial.reason.startswith("0 of ")
    assert f"failed: HTTP {status}: calibrated refusal" in trial.reason


def test_users_wait_as_long_as_the_server_that_refuses_them_asks(serve: Serve) -> None:
    server = serve(fault=lambda _: 429, retry_after="1")
    [trial] = trials(server, (6, 100), warm_up_s=0.0)
    assert trial.verdict == "broken"
    assert "failed: HTTP 429: calibrated refusal" in trial.reason
    asked = [[request for request in trial.requests if request.user == user] for user in range(6)]
    assert any(len(requests) > 1 for requests in asked)
    for requests in asked:
        assert all(later.started_s - sooner.ended_s >= 1 for sooner, later in itertools.pairwise(requests))


def test_users_come_back_ever_slower_to_a_server_that_keeps_failing(serve: Serve) -> None:
    server = serve(fault=lambda _: 500)
    [trial] = trials(server, (2, 8), habits=Habits("burst", messages=100, cooldown_s=0.0), error_rate=0.0)
    mine = [request for request in trial.requests if request.user == 0]
    pauses = [later.started_s - sooner.ended_s for sooner, later in itertools.pairwise(mine)]
    assert all(pause >= 0.25 * 2**place for place, pause in enumerate(pauses[:4]))
    assert trial.verdict == "undecided"


def test_streams_cut_short_are_failures_however_fast_they_came(serve: Serve) -> None:
    [trial] = trials(serve(fault=lambda _: "truncate"), (6, 100), warm_up_s=0.0)
    assert trial.verdict == "broken"
    assert "failed: the server closed the stream before the answer was complete" in trial.reason


def test_a_clock_that_is_set_while_a_trial_runs_changes_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    true_time, jumps = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: true_time() + (-1) ** next(jumps) * 1e6)
    [trial] = trials(serve(), (4, 40))
    assert trial.reason.startswith("40 of 40 answers came within")
    assert all(0 < request.latency_s < 5 and min(request.gaps_s) >= 0 for request in trial.requests)
    assert 0 < trial.duration_s < 60


def test_streams_that_hang_are_broken_without_waiting_for_their_end(serve: Serve) -> None:
    [trial] = trials(serve(fault=lambda _: "hang"), (12, 100), habits=Habits("burst"))
    assert trial.verdict == "broken"
    assert 10 <= len(trial.requests) <= 12
    assert {request.finish for request in trial.requests} == {"aborted"}


def test_a_server_that_dies_makes_the_trial_invalid_whatever_was_answered(serve: Serve) -> None:
    server = serve()
    dead, later = trials(server, (4, 10_000), (4, 10), meanwhile=server.close, error_rate=0.0, drain_s=0.2)
    assert dead.verdict == "invalid"
    assert "the server is gone: no connection" in dead.reason
    assert dead.idle_after_s is None
    assert (later.verdict, later.requests) == ("invalid", ())
    assert "the server is gone: http" in later.reason


def test_a_client_that_comes_late_makes_the_trial_invalid(serve: Serve) -> None:
    [trial] = trials(serve(), (4, 5), meanwhile=lambda: time.sleep(0.3), max_loop_lag_s=0.01, warm_up_s=0.1)
    assert trial.verdict == "invalid"
    assert "the load generator was the bottleneck: its event loop was" in trial.reason
    assert trial.loop_lag_s > 0.01


def test_a_client_that_needs_its_whole_core_makes_the_trial_invalid(serve: Serve) -> None:
    [trial] = trials(serve(), (4, 40), max_client_cpu=0.0001)
    assert trial.verdict == "invalid"
    assert "of a core" in trial.reason
    assert trial.client_cpu > 0.0001


@pytest.mark.parametrize("fault", [401, 404])
def test_a_key_or_model_refused_in_mid_trial_ends_it_with_the_reason(serve: Serve, fault: int) -> None:
    with pytest.raises(ServerError, match=f"HTTP {fault}: calibrated refusal; "):
        trials(serve(fault=lambda number: fault if number > 5 else None), (4, 100))


def test_a_model_that_is_not_served_is_refused_before_any_load(serve: Serve) -> None:
    server = serve()
    with pytest.raises(ServerError, match=r"has no model 'llama'.* it serves \"calibrated\""):
        trials(server, (4, 100), target={"body": {"model": "llama"}})
    assert server.served == []


def test_a_wrong_key_is_refused_before_any_load(serve: Serve) -> None:
    with pytest.raises(ServerError, match="LLMBENCH_API_KEY"):
        trials(serve(key="sk-right"), (4, 100))


def test_a_server_that_is_not_there_is_said_so(serve: Serve) -> None:
    server = serve()
    server.close()
    with pytest.raises(ServerError, match="start the server"):
        trials(server, (4, 100))


@pytest.mark.parametrize("level", [0, -1, 2.5, float("nan")])
def test_a_level_that_is_none_is_refused(serve: Serve, level: float) -> None:
    with pytest.raises(UsageError, match="level"):
        trials(serve(), (level, 10))


def test_a_first_token_promise_needs_streams() -> None:
    with pytest.raises(UsageError, match="needs streamed answers"):
        LoadTest(ChatServer("http://h/v1", stream=False), Conversations(TALK), slo=SLO(latency="first_token"))
