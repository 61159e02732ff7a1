from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special

from pytest_llmbench.load.sequential_test import decision, design_effect, log_beta_share


def verdicts(share: float, quantile: float, repeats: int, answers: int = 300) -> list[str | None]:
    """What is decided on servers with this share of good answers, when every third answer is looked at."""
    draw, decided = random.Random(1), list[str | None]()
    for _ in range(repeats):
        good, verdict = 0, None
        for count in range(1, answers + 1):
            good += draw.random() < share
            if count % 3 == 0 and (verdict := decision(good, count - good, quantile, 0.05)):
                break
        decided.append(verdict)
    return decided


def test_at_the_edge_errors_stay_within_the_stated_rate_however_often_one_looks() -> None:
    decided = verdicts(0.95, 0.95, repeats=100)
    assert decided.count("held") <= 5 + 6  # the rate, and three standard deviations of 100 draws
    assert decided.count("broken") <= 5 + 6


@pytest.mark.parametrize(("share", "verdict"), [(1.0, "held"), (0.7, "broken")])
def test_clear_cases_are_decided(share: float, verdict: str) -> None:
    assert set(verdicts(share, 0.95, repeats=20)) == {verdict}


def test_a_drowned_server_is_known_after_a_few_answers_and_a_good_one_before_a_hundred() -> None:
    assert decision(0, 3, 0.95, 0.05) == "broken"
    assert decision(58, 0, 0.95, 0.05) is None
    assert decision(99, 0, 0.95, 0.05) == "held"


@given(st.integers(0, 3000), st.integers(0, 3000), st.floats(0.01, 0.999))
def test_nothing_is_held_and_broken_and_the_share_agrees(good: int, bad: int, quantile: float) -> None:
    verdict = decision(good, bad, quantile, 0.05)
    if verdict == "held":
        assert good > quantile * (good + bad)
    if verdict == "broken":
        assert good < quantile * (good + bad)


@given(st.floats(1, 3000), st.floats(1, 3000), st.floats(0.01, 0.999))
def test_the_incomplete_beta_function_is_that_of_scipy(a: float, b: float, x: float) -> None:
    expected = special.betainc(a, b, x)
    assume(expected > 1e-290)
    assert log_beta_share(a, b, x) == pytest.approx(math.log(expected), rel=1e-9, abs=1e-9)


def test_one_bad_answer_breaks_the_strict_promise_and_no_number_of_good_ones_proves_it() -> None:
    assert decision(99, 1, 1.0, 0.05) == "broken"
    assert decision(10**6, 0, 1.0, 0.05) is None


def test_an_error_rate_of_zero_never_decides() -> None:
    assert decision(0, 10**6, 0.95, 0.0) is None


def test_answers_that_are_alike_in_a_group_count_as_one() -> None:
    alike = [group % 2 == 0 for group in range(20) for _ in range(5)]
    assert design_effect(alike, [place // 5 for place in range(100)]) == pytest.approx(5, rel=0.1)
    assert design_effect(alike, range(100)) == pytest.approx(1, rel=0.02)


def test_answers_without_a_difference_or_of_too_few_groups_count_fully() -> None:
    assert design_effect([True] * 20, [0, 1, 2, 3] * 5) == 1
    assert design_effect([True, False] * 5, [0, 1] * 5) == 1
