from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.load.client import Call
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.slo import Judge, Judgement

PROMISE = SLO(0.9, limit_s=1.0)


def call(started: float, latency_s: float | None, user: int = 0, error: str | None = None) -> Call:
    """One that took so long, or is still open."""
    made = Call(user, 0)
    made.started = started
    if latency_s is not None:
        made.end("error" if error else "stop", error, started + latency_s)
    return made


def judge(slo: SLO = PROMISE, requests: int = 1000, warm_up_s: float = 0.0, error_rate: float = 0.05) -> Judge:
    return Judge(slo, level=4, requests=requests, error_rate=error_rate, warm_up_s=warm_up_s)


def spread(latencies: Sequence[float | None]) -> list[Call]:
    return [call(1 + place / 100, latency, user=place) for place, latency in enumerate(latencies)]


def test_answers_count_in_the_order_they_were_asked() -> None:
    calls = spread([0.1] * 20 + [None] + [0.1] * 500)
    waiting = judge()
    assert waiting.look(calls, 0.0, now=1.5) is None
    assert len(waiting.requests(0.0, 1.5)) == 20  # the open one may still be late, and is not passed over
    calls[20].end("stop", at=1.7)
    verdict = waiting.look(calls, 0.0, now=1.8)
    assert verdict is not None
    assert verdict.verdict == "held"


def test_an_open_answer_past_the_limit_is_late_already() -> None:
    calls = spread([None] * 12)
    patient = judge(requests=12)
    assert patient.look(calls, 0.0, now=2.2) is None
    assert len(patient.requests(0.0, 2.2)) == 12
    verdict = patient.look(calls, 0.0, now=4.2)  # no stall of a moment lasts so long
    assert verdict == Judgement(
        "broken", Reason("surely_broken", {"good": 0, "judged": 12, "limit_s": 1.0, "quantile": 0.9})
    )
    assert str(verdict.why) == "0 of 12 answers came within 1 s: surely fewer than 0.9 of all do"


def test_an_answer_that_ended_in_time_is_not_late_while_its_stream_stays_open() -> None:
    waiting, left_open = judge(requests=1), call(1.0, None)
    left_open.answer.ended_at = 1.9
    assert waiting.look([left_open], 0.0, now=9.0) is None
    assert waiting.requests(0.0, 9.0) == ()
    left_open.end("stop", at=1.9)
    waiting.look([left_open], 0.0, now=9.0)
    assert waiting.good == 1


def test_the_warm_up_is_not_judged() -> None:
    calls = [call(0.1, 5.0) for _ in range(30)] + [call(3.0, 0.1, user) for user in range(4)]
    patient = judge(warm_up_s=2.0, requests=4)
    verdict = patient.look(calls, 0.0, now=9.0)
    assert verdict == Judgement(
        "undecided", Reason("not_sure", {"good": 4, "judged": 4, "limit_s": 1.0, "quantile": 0.9})
    )
    assert str(verdict.why) == "4 of 4 answers came within 1 s: not sure against 0.9"


def test_a_decided_verdict_names_the_commonest_failure() -> None:
    calls = [call(1 + user / 5, 0.1, user, "HTTP 429: slow down") for user in range(20)]
    verdict = judge().look(calls, 0.0, now=9.0)
    assert verdict is not None
    assert verdict.verdict == "broken"
    assert "; 20 failed: HTTP 429: slow down: surely" in str(verdict.why)
    assert (verdict.why.values["failed"], verdict.why.values["error"]) == (20, "HTTP 429: slow down")


@pytest.mark.parametrize(("more", "verdict"), [(0, None), (3, "broken")])
def test_what_one_stall_of_the_server_explains_breaks_nothing(more: int, verdict: str | None) -> None:
    stalled = [call(5.0 + place / 10, 2.0, place) for place in range(20)]
    later = [call(20.0 + place, 2.0, place) for place in range(more)]
    outcome = judge().look([*stalled, *later], 0.0, now=99.0)
    assert (outcome and outcome.verdict) == verdict


def test_failures_that_come_together_count_as_fewer() -> None:
    scattered = spread([0.1 if place % 4 else 9.0 for place in range(60)])
    together = spread([9.0 if 20 <= place < 35 else 0.1 for place in range(60)])
    assert [
        outcome and outcome.verdict for outcome in (judge().look(calls, 0.0, 99.0) for calls in (scattered, together))
    ] == [
        "broken",
        None,
    ]


@pytest.mark.parametrize(("latency", "verdict"), [(0.5, "held"), (1.5, "broken")])
def test_the_strict_promise_holds_when_no_answer_of_those_asked_for_is_late(latency: float, verdict: str) -> None:
    strict = judge(SLO(1.0, 1.0), requests=5)
    outcome = strict.look(spread([0.1] * 4 + [latency]), 0.0, 99.0)
    assert outcome is not None
    assert outcome.verdict == verdict


def test_a_first_token_promise_waits_for_the_end_but_not_for_a_late_token() -> None:
    early, late = call(0.0, None), call(0.0, None)
    early.answer.token_times, early.answer.first_visible_at = [0.5], 0.5
    late.answer.token_times, late.answer.first_visible_at = [1.5], 1.5
    slo = SLO(0.9, 1.0, "first_token")
    for open_call, judged in ((early, 0), (late, 1)):
        patient = judge(slo)
        patient.look([open_call], 0.0, now=5.0)
        assert len(patient.requests(0.0, 5.0)) == judged
    early.end("stop", at=6.0)
    assert slo.good(early.record(0.0, 6.0))


def test_a_trial_counts_good_answers_by_user() -> None:
    calls = [call(0, 0.1, 1), call(0, 2.0, 1), call(0, 0.1, 0), call(0, 0.1, 0, "cut")]
    requests = tuple(made.record(0.0, 9.0) for made in calls)
    assert Trial(2, requests, "undecided", Reason("time_over"), 1.0, 0.0, 0.0).groups(PROMISE) == ((1, 2), (1, 2))


@pytest.mark.parametrize("wrong", [{"quantile": 0.0}, {"quantile": 95.0}, {"limit_s": 0.0}, {"limit_s": float("nan")}])
def test_a_promise_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="SLO"):
        SLO(**wrong)  # type: ignore[arg-type]
