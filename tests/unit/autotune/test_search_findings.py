"""What a search came to in words and numbers, from trials made up here."""

from __future__ import annotations

from typing import Any

import pytest
from support.serving_findings import bare_trial

from pytest_llmbench.autotune.document import Finding, TrialEntry
from pytest_llmbench.autotune.findings import cut_offs, finding
from pytest_llmbench.autotune.questions import Question, history, max_tokens, rate, users
from pytest_llmbench.core.settings import LoadSettings, Settings
from pytest_llmbench.load.reasons import EndedBy
from pytest_llmbench.load.records import SLO
from pytest_llmbench.load.search import Found
from pytest_llmbench.load.search_journal import InvalidTrial
from pytest_llmbench.stats.capacity import CapacityFit
from pytest_llmbench.stats.observation import Observation

SETTINGS = Settings(load=LoadSettings(max_users=12, max_tokens=32, max_history=10, latency=2.0))


def entry(level: float, good: int, total: int, **changed: Any) -> dict[str, Any]:
    return bare_trial(level, good, total, **{"cut_off": 0.0, "latency_s": {"p50": 0.5}, **changed})


def found(question: Question, *trials: dict[str, Any], ended_by: EndedBy = "confidence") -> Finding:
    """The finding of these trials, whose levels are the question's."""
    step = {question.level(step): step for step in range(question.plan.highest, 0, -1)}
    kept = [
        InvalidTrial(step[one["level"]], "why", 1, detail=one)
        if one["verdict"] == "invalid"
        else Observation(step[one["level"]], one["good"], one["total"], (), one["total"], one)
        for one in trials
    ]
    seen = [one for one in kept if isinstance(one, Observation)]
    capacity = CapacityFit(seen, question.plan.share, question.plan.highest).capacity(range(1, 4))
    sent = sum(one["total"] for one in trials)
    return finding(question, Found(capacity, ended_by, sent, tuple(kept)), SLO(limit_s=2.0), required=None, resumed=0)


def cut_off(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one.json_ready() for one in cut_offs([TrialEntry.model_validate(trial) for trial in trials])]


def test_users_that_are_held_are_told_with_their_interval() -> None:
    made = found(users(SETTINGS), *[entry(4, 200, 200), entry(5, 20, 200), entry(4, 200, 200), entry(6, 0, 200)])
    assert (made["value"], made["low"], made["high"], made["held"], made["capped"]) == (4, 4, 4, True, False)
    assert made["chances"]["4"] > 0.95
    assert list(made["notes"]) == []


def test_a_history_of_none_at_all_is_not_taken_for_a_failure() -> None:
    made = found(history(SETTINGS, 2), *[entry(0, 300, 300), entry(2, 0, 300), entry(4, 0, 300)])
    assert (made["value"], made["held"]) == (0, True)
    made = found(history(SETTINGS, 2), *[entry(0, 0, 300), entry(2, 0, 300)])
    assert (made["value"], made["held"]) == (0, False)
    assert (
        made["notes"][0] == "nothing is held: at 0 messages, the least that was tried, 0 of 300 answers came within 2 s"
    )


def test_slow_answers_are_not_taken_for_failing_ones() -> None:
    made = found(users(SETTINGS), *[entry(1, 0, 40, errors={"HTTP 500: oops": 3})] * 3)
    assert made["notes"][0] == "nothing is held: at 1 user, the least that was tried, 0 of 120 answers came within 2 s"
    made = found(users(SETTINGS), *[entry(1, 0, 40, errors={"HTTP 500: oops": 38})] * 3)
    assert made["notes"][0].startswith("nothing is held because answers fail, not because they are slow")
    assert "114 of 120 with HTTP 500: oops" in made["notes"][0]


def test_a_limit_of_refusals_is_told_apart_from_one_of_latency() -> None:
    refusing = entry(5, 20, 200, errors={"HTTP 429: too many": 180})
    made = found(users(SETTINGS), entry(4, 200, 200), refusing, refusing, entry(4, 200, 200))
    assert made["value"] == 4
    assert list(made["notes"]) == ["above it answers fail rather than come late, most often with HTTP 429: too many"]


def test_invalid_trials_are_shown_and_count_for_nothing() -> None:
    lost = entry(4, 0, 10, verdict="invalid")
    made = found(users(SETTINGS), entry(4, 200, 200), lost, entry(5, 10, 200), entry(4, 200, 200))
    assert made["value"] == 4
    assert list(made["notes"]) == ["1 of 4 trials were invalid and count for nothing"]
    assert len(made["trials"]) == 4


def test_a_search_that_ran_out_of_budget_says_how_far_it_came() -> None:
    made = found(users(SETTINGS), entry(2, 50, 50), ended_by="budget")
    assert (made["value"], made["high"], made["highest_tried"]) == (2, 2, 2)
    assert made["capped"]
    assert made["unbounded"]
    assert "the budget ended the search at 2 users: nothing above was tried" in made["notes"]
    assert "not decided after 50 requests; more load.budget narrows it down" in made["notes"]
    late = found(users(SETTINGS), entry(2, 50, 50), ended_by="time")
    assert (late.ended_by, late.decided) == ("time", False)
    assert list(late.notes) == [
        "load.time_limit ended the search at 2 users: nothing above was tried",
        "not decided after 50 requests; a longer load.time_limit narrows it down",
    ]


def test_the_share_cut_off_is_that_of_all_trials_of_a_level() -> None:
    trials = [
        entry(8, 10, 10, cut_off=1.0),
        entry(8, 10, 30, cut_off=0.5, errors={"x": 10}),
        entry(16, 10, 10, cut_off=0.0),
        entry(24, 10, 10, cut_off=1.0, verdict="invalid"),
        entry(32, 0, 10, cut_off=None, errors={"x": 10}),
    ]
    assert cut_off(trials) == [
        {"level": 8, "share": pytest.approx(20 / 30, abs=1e-4), "answers": 30},
        {"level": 16, "share": 0.0, "answers": 10},
    ]


def test_answers_that_the_trial_cut_off_are_none_that_the_token_limit_ended() -> None:
    trials = [entry(8, 10, 30, cut_off=1.0, completed=10)]
    assert cut_off(trials) == [{"level": 8, "share": 1.0, "answers": 10}]


def test_answers_that_end_by_themselves_make_longer_limits_useless() -> None:
    trials = [entry(8, 90, 90, cut_off=1.0), entry(16, 90, 90, cut_off=0.01), entry(32, 90, 90, cut_off=0.0)]
    made = found(max_tokens(SETTINGS, 3), *trials, *trials)
    assert made["value"] == 32
    assert made["cut_off_at_value"] == 0.0
    assert "answers hardly ever reach 16 tokens" in " ".join(made["notes"])


def test_rates_from_short_trials_are_told_so() -> None:
    question = rate(SETTINGS, 3.2)
    trials = [entry(question.level(20), 200, 200), entry(question.level(24), 0, 200)]
    short = found(question, *trials)
    assert "more slowly is not seen" in " ".join(short["notes"])
    assert not short["decided"]
    longer = [one | {"duration_s": 1e5} for one in trials]
    lasting = found(question, *longer)
    assert "more slowly is not seen" not in " ".join(lasting["notes"])
    assert lasting["decided"]


def test_a_rate_is_never_above_what_was_served_and_its_interval_reaches_the_first_that_was_lost() -> None:
    question = rate(SETTINGS, 6.4)
    good = [
        entry(question.level(step), 200, 200, completed=200, served_per_s=question.level(step) - 0.3)
        for step in (24, 32, 34)
    ]
    lost = entry(question.level(40), 20, 200, completed=20, served_per_s=6.6)
    made = found(question, *good, *good, lost, lost, ended_by="budget")
    assert made["value"] <= 6.6
    assert made["low"] < 6.0  # a queue may have been growing still
    assert made["value"] < made["high"] <= made["highest_tried"]


def test_a_server_that_kept_up_does_not_show_the_most_that_it_could_do() -> None:
    question = rate(SETTINGS, 6.4)
    kept_up = entry(question.level(32), 200, 200, completed=200, served_per_s=question.level(32))
    lost_at_once = entry(question.level(40), 0, 10, completed=0, served_per_s=None)
    made = found(question, kept_up, kept_up, lost_at_once, ended_by="budget")
    assert made["value"] <= question.level(32) * (1 - 1 / 200**0.5)  # a lucky trial may have served more than it can
    assert made["high"] > question.level(32) * (1 + 1.96 / 200**0.5)  # nothing was seen between the two
    assert made["high"] <= made["highest_tried"]


def test_a_strict_promise_has_a_rate_too() -> None:
    question = rate(SETTINGS, 3.2)
    trials = (entry(question.level(20), 200, 200, completed=200, served_per_s=1.9), entry(question.level(24), 0, 200))
    kept = tuple(
        Observation(step, int(step == 20), 1, (), 200, one) for step, one in zip((20, 24), trials, strict=True)
    )
    capacity = CapacityFit(kept, 0.5, question.plan.highest).capacity()
    made = finding(question, Found(capacity, "budget", 400, kept), SLO(1.0, 2.0), required=None, resumed=0)
    assert 0 <= made["low"] <= made["value"] <= made["high"]


def test_trials_that_contradict_each_other_are_told_with_their_counts() -> None:
    trials = [entry(4, 100, 100), entry(4, 20, 100), entry(5, 99, 100), entry(6, 0, 100)]
    made = found(users(SETTINGS), *trials)
    assert made["contradiction"] is not None
    assert (made["contradiction"]["good"], made["contradiction"]["others_good"]) == (20, 199)
    assert not made["decided"]
    assert made["notes"][0].startswith(
        "trials contradict each other: 20 of 100 answers kept the promise in one at 4 users"
    )
