from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.autotune.questions import history, max_tokens, rate, rate_range, rescaled, users
from pytest_llmbench.core.settings import LoadSettings, Settings
from pytest_llmbench.stats.observation import Observation


def settings(**load: object) -> Settings:
    return Settings(load=LoadSettings(**load))  # type: ignore[arg-type]


def test_levels_are_what_people_count_in() -> None:
    some = settings(max_users=7, max_history=6, max_tokens=512)
    assert [users(some).level(step) for step in (0, 1, 7)] == [0, 1, 7]
    assert [history(some, 3).level(step) for step in (0, 1, 2, 4)] == [0, 0, 2, 6]
    assert [max_tokens(some, 3).level(step) for step in (1, 2, 32)] == [16, 32, 512]
    assert history(some, 3).highest == 6


def test_more_users_than_allowed_are_tried_where_they_are_required() -> None:
    assert users(settings(max_users=10, require_users=40)).highest == 40


@given(longest=st.integers(16, 100_000))
def test_answer_lengths_come_in_16_to_32_steps(longest: int) -> None:
    question = max_tokens(settings(max_tokens=longest), 2)
    assert 16 <= question.plan.highest <= 32
    assert longest - question.scale < question.highest <= longest


@given(
    held=st.integers(1, 300),
    strict=st.booleans(),
    arrivals=st.sampled_from(["staggered", "burst"]),
    level=st.integers(1, 9),
)
def test_a_trial_costs_what_its_users_send(held: int, strict: bool, arrivals: str, level: int) -> None:  # noqa: FBT001
    quantile = "strict" if strict else 0.9
    question = history(settings(arrivals=arrivals, quantile=quantile, messages=4), held)
    assert question.plan.users_at(level) == held
    least, most = question.plan.messages
    if strict or arrivals == "burst":
        assert (least, most) == (4, 4)
    else:
        assert least * held >= 12
        assert most >= least
    assert question.plan.share == (0.5 if strict else 0.9)


@given(budget=st.integers(200, 20_000), latency=st.floats(0.05, 30), too_much=st.floats(0.01, 50))
def test_trials_at_a_rate_last_long_and_still_fit_the_budget(budget: int, latency: float, too_much: float) -> None:
    question = rate(settings(budget=budget, latency=latency, max_rate=50.0), too_much)
    least, most = question.plan.messages
    assert question.level(32) == pytest.approx(too_much, rel=1e-3, abs=1e-6)
    assert question.highest <= 50.001
    spans = least * question.plan.users_at(32) / too_much / latency
    assert spans >= 3 - 1e-6
    assert most >= least


def test_short_looks_tell_where_they_were_lost_or_far_below() -> None:
    some = settings(max_rate=50.0)
    span = rate_range(some)
    looks = [Observation(step, step if step < 128 else 0, step) for step in (16, 32, 64, 128)]
    question = rate(some, span.level(128))
    kept = rescaled(looks, 128, question)
    assert [one.level for one in kept] == [4, 8, 32]
    assert [question.level(one.level) for one in kept] == pytest.approx([span.level(step) for step in (16, 32, 128)])


def test_what_a_first_search_took_is_no_longer_there_for_the_next() -> None:
    left = rate(settings(time_limit=60.0, budget=500), 5.0).with_less(100, 45.0).plan
    assert (left.budget, left.seconds) == (400, 15.0)
    assert rate(settings(time_limit=60.0), 5.0).with_less(0, 99.0).plan.seconds == 0
