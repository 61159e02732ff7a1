"""The interval of a mean difference: its transformation, its coverage, and scores of any size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.stats import mean_interval
from pytest_llmbench.stats.intervals import _unbent, bent, moments

Draw = Callable[[np.random.Generator, int], np.ndarray]


@given(st.floats(-6, 6), st.floats(-2, 2))
def test_halls_transformation_is_undone(studentized: float, bend: float) -> None:
    assert _unbent(bent(studentized, bend), bend) == pytest.approx(studentized, abs=1e-5)


@given(st.floats(-6, 5.9), st.floats(0.01, 5), st.floats(-2, 2))
def test_halls_transformation_keeps_order(low: float, more: float, bend: float) -> None:
    assert bent(low, bend) <= bent(low + more, bend) + 1e-9


@pytest.mark.parametrize("unit", [1e-100, 1e-9, 1.0, 1e9, 1e99])
def test_moments_and_interval_follow_the_unit(unit: float) -> None:
    plain = np.array([0.0, 0.1, 0.1, 0.9, -0.2])
    found, scaled = moments(plain), moments(plain * unit)
    assert found is not None
    assert scaled == pytest.approx((found.mean * unit, found.error * unit, found.bend), rel=1e-9)
    ends, interval = mean_interval(plain), mean_interval(plain * unit)
    assert ends is not None
    assert interval == pytest.approx((ends[0] * unit, ends[1] * unit), rel=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30).map(np.array))
def test_an_interval_holds_the_mean_and_mirrors(differences: np.ndarray) -> None:
    interval, mirrored = mean_interval(differences), mean_interval(-differences)
    assert (interval is None) == (mirrored is None)
    if interval and mirrored:
        assert interval[0] < differences.mean() < interval[1]
        assert mirrored == pytest.approx((-interval[1], -interval[0]))


@pytest.mark.parametrize("alike", [[0.4], [0.0, 0.0], [0.1] * 10, [1e9 + 0.1] * 7])
def test_one_case_and_cases_that_differ_alike_have_no_interval(alike: list[float]) -> None:
    assert mean_interval(np.array(alike)) is None


def test_more_confidence_is_a_wider_interval() -> None:
    differences = np.random.default_rng(0).normal(0, 1, 20)
    wide, narrow = mean_interval(differences, 0.99), mean_interval(differences, 0.9)
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("cases", [20, 60, 300])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda random, n: random.normal(0.1, 1, n), 0.1),
        (lambda random, n: random.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.6, 0.3]), 0.2),
        (lambda random, n: random.beta(5, 0.5, n) - random.beta(0.5, 0.5, n), 5 / 5.5 - 0.5),
        (lambda random, n: np.where(random.random(n) < 0.3, random.beta(2, 2, n), 0.0), 0.15),
    ],
    ids=["normal", "yes-or-no", "skewed", "few gain"],
)
def test_the_truth_is_in_95_of_100_intervals(draw: Draw, truth: float, cases: int) -> None:
    random = np.random.default_rng(4)
    found = [mean_interval(draw(random, cases)) for _ in range(400)]
    held = sum(ends is not None and ends[0] <= truth <= ends[1] for ends in found) / len(found)
    assert 0.915 <= held <= 0.99
