"""The interval of a share: exact, and honest where answers of one asking are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.stats.intervals import mean_interval
from pytest_llmbench.stats.share_interval import score_interval, share_interval


def test_single_answers_have_clopper_and_pearsons_interval() -> None:
    found = share_interval([1] * 9 + [0], [1] * 10)
    exact = stats.binomtest(9, 10).proportion_ci(method="exact")
    assert found == pytest.approx((0.9, exact.low, exact.high))


def test_alike_answers_count_as_fewer() -> None:
    alike, mixed = share_interval([3, 3, 3, 0] * 3, [3] * 12), share_interval([2, 3, 2, 2] * 3, [3] * 12)
    assert alike.value == mixed.value == 0.75
    assert alike.high - alike.low > mixed.high - mixed.low


@pytest.mark.parametrize("found", [0, 3])
def test_where_all_or_none_were_found_each_asking_counts_once(found: int) -> None:
    assert share_interval([found] * 6, [3] * 6)[1:] == pytest.approx(share_interval([found // 3] * 6, [1] * 6)[1:])


def test_intervals_hold_the_share_where_answers_are_alike() -> None:
    chance = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        known = chance.random(12) < 0.8
        alike = chance.random(12) < 0.5
        found = np.where(alike, 3 * known, chance.binomial(3, 0.8, 12))
        share = share_interval(found.tolist(), [3] * 12)
        held += share.low <= 0.8 <= share.high
    assert held >= 0.92 * 300


@pytest.mark.parametrize(("found", "asked"), [([], []), ([2], [1]), ([0], [0])])
def test_what_cannot_be_is_refused(found: list[int], asked: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        share_interval(found, asked)


SCORES = st.floats(0, 1).map(lambda score: round(score, 3))


@given(st.lists(SCORES | st.sampled_from([0.0, 1.0]), min_size=1, max_size=40))
def test_the_mean_of_scores_lies_where_it_can_be(scores: list[float]) -> None:
    found = score_interval(np.array(scores))
    if found is None:
        assert len(set(scores)) == 1
    else:
        assert 0 <= found[0] <= np.mean(scores) <= found[1] <= 1


def test_the_mean_of_yes_or_no_scores_is_a_share_and_others_keep_their_bounds_alone() -> None:
    nine = np.array([1.0] * 9 + [0.0])
    assert score_interval(nine) == pytest.approx(share_interval([1] * 9 + [0], [1] * 10)[1:])
    assert score_interval(nine, "s") == mean_interval(nine)
    assert score_interval(10 * nine) == mean_interval(10 * nine)
    graded = np.array([0.5, 0.6, 0.4, 0.55])
    assert score_interval(graded) == mean_interval(graded)
