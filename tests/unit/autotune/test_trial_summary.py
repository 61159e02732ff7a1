from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.autotune.trial_summary import MOST_ROWS, thinned, trial_summary
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Request, Trial

ANSWER = Request(0, 0, 1.0, None, 1.5, 3.5, 11, False, "stop", None, 30, (0.2,) * 10)  # noqa: FBT003

PROMISED: tuple[Literal["total"], Literal["first_token"]] = ("total", "first_token")


def entry(*requests: Request, **changed: Any) -> dict[str, Any]:
    trial = Trial(2.0, requests, "held", Reason("held_as_asked"), 4.0, 0.001, 0.1, 0.2, len(requests) + 1)
    return trial_summary(dataclasses.replace(trial, **changed), SLO(0.9, 3.0), level=2, started_s=7.0).json_ready()


def test_a_trial_is_summed_up_in_latencies_and_tokens() -> None:
    late = dataclasses.replace(ANSWER, user=1, ended_s=7.0, finish="length")
    made = entry(ANSWER, late)
    assert (made["good"], made["total"], made["sent"]) == (1, 2, 3)
    assert made["latency_s"] == {"p50": 4.25, "p90": 5.65, "p95": 5.825, "p99": 5.965, "max": 6.0}
    assert made["first_token_s"] == {"p50": 0.5, "p90": 0.5, "p95": 0.5, "p99": 0.5, "max": 0.5}
    assert made["first_reasoning_s"] is None
    assert made["decode_tokens_per_s"] == pytest.approx((10 / 2 + 10 / 5.5) / 2, abs=1e-3)
    assert made["gap_s"] == {"p50": 0.2, "p95": 0.2, "p99": 0.2}
    assert made["cut_off"] == 0.5
    assert made["requests"] == [[0, 1.0, 1.5, 3.5, 1, 11], [1, 1.0, 1.5, 7.0, 0, 11]]
    json.dumps(made, allow_nan=False)


def test_answers_that_failed_are_counted_by_reason_and_have_no_latency() -> None:
    failed = dataclasses.replace(ANSWER, finish="error", error="HTTP 429: later", first_token_s=None, tokens=None)
    made = entry(failed, failed, dataclasses.replace(failed, error="other"))
    assert made["errors"] == {"HTTP 429: later": 2, "other": 1}
    assert list(made["errors"]) == ["HTTP 429: later", "other"]
    assert made["latency_s"] is None
    assert made["cut_off"] is None


def test_what_was_cut_off_or_failed_late_never_flatters_the_latencies() -> None:
    unheard = dataclasses.replace(ANSWER, ended_s=9.0, finish="aborted", first_token_s=None, tokens=None, gaps_s=())
    timed_out = dataclasses.replace(unheard, ended_s=31.0, finish="error", error="no end of the answer in 30 s")
    refused = dataclasses.replace(unheard, ended_s=1.01, finish="error", error="HTTP 429: later")
    made = entry(ANSWER, unheard, timed_out, refused)
    assert (made["good"], made["completed"], made["total"]) == (1, 1, 4)
    assert made["latency_s"] is not None
    assert (made["latency_s"]["p50"], made["latency_s"]["max"]) == (8.0, 30.0)  # of 2.5, 8 and 30 s
    assert made["first_token_s"] is not None
    assert (made["first_token_s"]["p50"], made["first_token_s"]["max"]) == (8.0, 30.0)
    assert (made["completion_tokens"], made["cut_off"]) == (11, 0.0)


def test_an_answer_cut_off_after_its_first_token_is_no_error_where_first_tokens_are_promised() -> None:
    cut = dataclasses.replace(
        ANSWER, ended_s=31.0, finish="error", error="no end of the answer in 30 s", failure="late"
    )
    trial = Trial(2.0, (cut,), "held", Reason("held_as_asked"), 4.0, 0.001, 0.1)
    whole, first = (trial_summary(trial, SLO(0.9, 3.0, what), level=2, started_s=0.0) for what in PROMISED)
    assert (whole.good, sum(whole.errors.values())) == (0, 1)
    assert (first.good, first.errors) == (1, {})
    assert first.first_token_s is not None
    assert first.first_token_s.max == 0.5


def test_what_is_not_streamed_has_no_first_token() -> None:
    whole = dataclasses.replace(ANSWER, first_token_s=None)
    assert entry(whole, dataclasses.replace(whole, ended_s=9.0, finish="aborted"))["first_token_s"] is None


def test_a_trial_without_any_answer_can_be_told_too() -> None:
    made = entry(verdict="invalid", idle_after_s=None)
    assert (made["total"], made["latency_s"], made["decode_tokens_per_s"], made["requests"]) == (0, None, None, [])


def test_reasoning_counts_for_the_speed_of_decoding() -> None:
    thinking = dataclasses.replace(ANSWER, first_reasoning_s=1.5, first_token_s=3.0)
    assert entry(thinking)["decode_tokens_per_s"] == pytest.approx(5.0)


@given(count=st.integers(0, 4000), most=st.integers(1, 300))
def test_thinning_keeps_the_first_and_spreads_evenly(count: int, most: int) -> None:
    rows = [dataclasses.replace(ANSWER, user=place) for place in range(count)]
    kept = [row.user for row in thinned(rows, most)]
    assert len(kept) == min(count, most)
    assert kept[:1] == [0][:count]
    gaps = {later - sooner for sooner, later in itertools.pairwise(kept)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_long_trials_keep_a_sample_of_their_requests() -> None:
    made = entry(*[ANSWER] * (MOST_ROWS + 5))
    assert len(made["requests"]) == MOST_ROWS
    assert made["requests_thinned"]


def test_one_answer_that_took_long_makes_no_slow_server() -> None:
    ends = [place / 10 for place in range(100)]
    steady = [dataclasses.replace(ANSWER, user=place, ended_s=4 + at) for place, at in enumerate(ends)]
    slow = dataclasses.replace(ANSWER, user=100, ended_s=60.0)
    assert entry(*steady)["served_per_s"] == pytest.approx(10)
    assert entry(*steady, slow)["served_per_s"] == pytest.approx(10)
    assert entry(*steady[:19])["served_per_s"] is None
