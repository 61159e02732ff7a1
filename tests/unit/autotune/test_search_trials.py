"""What single trials of a search come to when the server dies or refuses, told by a load test made up here."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import pytest

from pytest_llmbench.autotune import trials
from pytest_llmbench.autotune.progress_events import Onlooker
from pytest_llmbench.autotune.questions import Question, max_tokens, users
from pytest_llmbench.autotune.trials import SearchTrials, observation
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.client.refusals import Page, Sent
from pytest_llmbench.load.client import Call, ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.health_check import Presence
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Request, Trial, Verdict
from pytest_llmbench.load.search_journal import InvalidTrial, SearchJournal
from pytest_llmbench.load.trial import TrialLimits
from pytest_llmbench.load.users import Habits
from pytest_llmbench.stats.observation import Observation

GOOD = Request(0, 0, 0.0, None, 0.1, 0.2, 3, False, "stop", None, 5)  # noqa: FBT003
CUT = dataclasses.replace(
    GOOD, finish="error", error="the server closed the connection in mid-answer", failure="closed"
)
USERS = users(Settings())
TOKENS = max_tokens(Settings(), 3)


class MadeUp:
    """Both the load test and the connection beside it. `there` tells whether the server answers when looked for."""

    def __init__(self, trials: Sequence[Trial | ServerError], there: Sequence[bool] = ()) -> None:
        self.url = "http://h/v1"
        self.server, self.limits, self.slo = ChatServer(self.url, {"max_tokens": 5}), TrialLimits(), SLO()
        self.habits = Habits()
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self._trials, self._there = list(trials), list(there)
        self.looks = 0

    async def trial(self, _level: float, _requests: int) -> Trial:
        self.seen.append((self.habits.seed, dict(self.server.body)))
        made = self._trials.pop(0)
        if isinstance(made, ServerError):
            raise made
        return made

    async def get(self, url: str, _timeout_s: float) -> Page:
        self.looks += 1
        if self._there and not self._there.pop(0):
            raise ServerError(f"{url}: gone")
        return Page(Sent("GET", url), 200, "")


def trial(*requests: Request, idle_after_s: float | None = 0.1, **changed: Any) -> Trial:
    made = Trial(2.0, requests, "undecided", Reason("users_stopped"), 1.0, 0.0, 0.0, idle_after_s, len(requests))
    return dataclasses.replace(made, **changed)


def run(made_up: MadeUp, *asked: tuple[Question, int], has_ended: bool = False) -> list[Observation | InvalidTrial]:
    """The trials of these questions and steps, 20 requests each; without any, of 2 users."""
    presence = Presence(cast("Any", made_up), {}, lists_models=True)
    trials = SearchTrials(cast("Any", made_up), presence, scrape=False, has_ended=lambda: has_ended)
    journal, talks = SearchJournal(None, {}), Conversations([Conversation(("bonjour",))])

    async def ask() -> None:
        for question, step in asked or [(USERS, 2)]:
            watch = Onlooker(question, "m", lambda _: None, 0)
            journal.add(await trials.of(question, talks, watch, journal)(step, 20))

    asyncio.run(ask())
    return journal.trials


def test_answers_cut_by_a_dying_server_are_no_late_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.load.health_check._PAUSE_S", 0.0)
    dying = trial(*[CUT] * 12, idle_after_s=None, verdict="broken")
    [seen] = run(MadeUp([dying], there=[False, False, True]))
    assert isinstance(seen, InvalidTrial)
    assert seen.mended
    assert seen.reason == f"the server is gone: {CUT.error}"
    assert seen.detail["verdict"] == "invalid"


def test_connections_that_a_living_server_cuts_are_failures_of_its_own() -> None:
    [seen] = run(MadeUp([trial(*[CUT] * 12, verdict="broken")]))
    assert isinstance(seen, Observation)
    assert (seen.good, seen.total) == (0, 12)


def test_an_overloaded_server_that_stays_busy_is_broken_and_not_gone() -> None:
    late = dataclasses.replace(GOOD, ended_s=9.0)
    [seen] = run(MadeUp([trial(*[late] * 12, idle_after_s=None, verdict="broken")]))
    assert isinstance(seen, Observation)
    [seen] = run(MadeUp([trial(*[CUT] * 12, idle_after_s=None, verdict="broken")], there=[True]))
    assert isinstance(seen, Observation)
    assert (seen.good, seen.total) == (0, 12)


def test_a_client_that_was_too_slow_is_not_mended_by_waiting() -> None:
    slow = Reason("client_busy", {"cpu": 0.97, "allowed": 0.9})
    [seen] = run(MadeUp([trial(GOOD, verdict="invalid", why=slow)]))
    assert seen == InvalidTrial(2, str(slow), 1, code="client_busy")


def test_a_server_that_dies_again_and_again_ends_the_search() -> None:
    gone = trial(verdict="invalid", why=Reason("server_gone", {"error": "no connection"}), idle_after_s=None)
    with pytest.raises(ServerError, match="went away 6 times, the last time at level 2; what was tried is kept"):
        run(MadeUp([gone] * 9), *[(USERS, 2)] * 9)


def test_a_server_that_stays_away_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_AWAY_S", 0.05)
    gone = trial(verdict="invalid", why=Reason("server_gone", {"error": "no connection"}), idle_after_s=None)
    with pytest.raises(ServerError, match=r"not back after 0\.05 s"):
        run(MadeUp([gone], there=[False] * 1000))


def test_nobody_waits_for_a_server_whose_process_has_ended() -> None:
    gone = trial(verdict="invalid", why=Reason("server_gone", {"error": "no connection"}), idle_after_s=None)
    made_up = MadeUp([gone], there=[False] * 1000)
    with pytest.raises(ServerError, match="its process has ended"):
        run(made_up, has_ended=True)
    assert made_up.looks == 1


def test_trials_at_one_level_draw_arrivals_of_their_own() -> None:
    made_up = MadeUp([trial(GOOD)] * 3)
    run(made_up, *[(USERS, 2)] * 3)
    assert len({seed for seed, _ in made_up.seen}) == 3


def test_one_question_leaves_no_trace_in_the_next() -> None:
    made_up = MadeUp([trial(GOOD)] * 2)
    run(made_up, (TOKENS, 4), (USERS, 4))
    assert [body for _, body in made_up.seen] == [{"max_tokens": 64}, {"max_tokens": 5}]


def test_requests_too_large_for_the_server_lose_the_level() -> None:
    refusal = ServerError("http://h/v1: HTTP 400: the context is too short; mend it", status=400)
    [_, seen] = run(MadeUp([trial(*[GOOD] * 12), refusal]), (TOKENS, 4), (TOKENS, 8))
    assert isinstance(seen, Observation)
    assert (seen.good, seen.total, seen.cost) == (0, 20, 3)
    assert "the context is too short" in seen.detail["reason"]


@pytest.mark.parametrize(
    ("question", "step", "reason", "status"),
    [
        (USERS, 4, "HTTP 400: no such parameter", 400),
        (TOKENS, 1, "HTTP 400: no such parameter", 400),
        (TOKENS, 4, "HTTP 401: no", 401),
        (TOKENS, 4, "a gateway that writes HTTP 400", 502),
        (TOKENS, 4, "gone, and a log with HTTP 413", None),
    ],
)
def test_other_refusals_end_the_search(question: Question, step: int, reason: str, status: int | None) -> None:
    with pytest.raises(ServerError, match=reason):
        run(MadeUp([ServerError(reason, status=status)]), (question, step))


def seen_trial(verdict: Verdict) -> Trial:
    """Two users, three answers, the last one late."""
    requests = []
    for user, latency_s in ((0, 0.1), (1, 0.2), (1, 9.0)):
        call = Call(user, 0)
        call.end("stop", at=call.started + latency_s)
        requests.append(call.record(call.started, 0.0))
    return Trial(
        2.0, tuple(requests), verdict, Reason("process_died", {"process": 1, "processes": 2}), 1.0, 0.0, 0.0, sent=7
    )


def test_a_trial_is_its_good_answers_by_user() -> None:
    assert observation(seen_trial("undecided"), SLO()) == Observation(2, 2, 3, ((1, 1), (1, 2)), 7)


def test_under_a_strict_promise_a_trial_is_one_answer() -> None:
    assert observation(seen_trial("broken"), SLO(1.0)) == Observation(2, 0, 1, (), 7)
    assert observation(seen_trial("held"), SLO(1.0)) == Observation(2, 1, 1, (), 7)


@pytest.mark.parametrize(
    ("made", "slo"),
    [
        (seen_trial("invalid"), SLO()),
        (seen_trial("undecided"), SLO(1.0)),
        (dataclasses.replace(seen_trial("undecided"), requests=()), SLO()),
    ],
)
def test_a_trial_that_proves_nothing_is_no_observation(made: Trial, slo: SLO) -> None:
    assert observation(made, slo) == InvalidTrial(
        2, "process 1 of 2 of the load generator died", 7, code="process_died"
    )
