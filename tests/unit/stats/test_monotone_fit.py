"""What trials say when the curve may fall in any way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.stats.monotone_fit import capacity_chances, isotonic
from pytest_llmbench.stats.observation import Observation

COUNTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).filter(sum), min_size=1, max_size=8)


@settings(max_examples=60)
@given(COUNTS)
def test_the_fitted_shares_fall_and_keep_the_total(counts: list[tuple[int, int]]) -> None:
    good, total = [one for one, _ in counts], [one + late for one, late in counts]
    shares = isotonic(good, total)
    assert all(first >= second - 1e-12 for first, second in itertools.pairwise(shares))
    assert sum(share * one for share, one in zip(shares, total, strict=True)) == pytest.approx(sum(good))


@settings(max_examples=60)
@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95]))
def test_they_are_probabilities(counts: list[tuple[int, int]], share: float) -> None:
    seen = [Observation(level, good, good + late) for level, (good, late) in enumerate(counts, 1)]
    found = capacity_chances(seen, share, 12, 1.0)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()


def test_a_cliff_is_as_sharp_as_with_a_shape() -> None:
    seen = [Observation(level, 199 if level <= 16 else 120, 200) for level in (8, 15, 16, 17, 18)]
    assert capacity_chances(seen, 0.95, 50, 1.0)[16] > 0.95


def test_a_plateau_at_the_promise_leaves_all_of_it_open() -> None:
    seen = [Observation(level, 95 if level > 10 else 100, 100) for level in (5, 10, 15, 20, 25, 30)]
    assert capacity_chances([*seen, Observation(31, 50, 100)], 0.95, 50, 1.0)[10:31].min() > 0.02


def test_answers_that_are_alike_say_less() -> None:
    seen = [Observation(level, 199 if level <= 16 else 180, 200) for level in (15, 16, 17)]
    assert capacity_chances(seen, 0.95, 50, 8.0).max() < capacity_chances(seen, 0.95, 50, 1.0).max()
