"""The capacity estimate: what the curve makes of trials, and how sure it claims to be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.stats.capacity import CapacityFit, likeness
from pytest_llmbench.stats.observation import Observation

LEVELS = (1, 2, 4, 8, 12, 15, 16, 17, 18, 20)


def falling(level: float, capacity: float = 16.5, lapse: float = 0.0) -> float:
    """The share of good answers: 95 % of the answers without lapse near the capacity."""
    return (1 - lapse) / (1 + math.exp(1.2 * (level - capacity) - 3))


def expected(levels: tuple[int, ...], lapse: float = 0.0, total: int = 200) -> list[Observation]:
    return [Observation(level, round(total * falling(level, lapse=lapse)), total) for level in levels]


def test_the_capacity_is_the_last_level_that_holds_the_share() -> None:
    capacity = CapacityFit(expected(LEVELS), 0.95, 50).capacity()
    assert capacity.users == 16
    assert capacity.low in (15, 16)
    assert capacity.high in (16, 17)


def test_stalls_at_any_load_are_a_lapse_and_no_limit() -> None:
    steady = CapacityFit(expected(LEVELS, lapse=0.06), 0.90, 50).capacity()
    assert abs(steady.users - 16) <= 1
    assert steady.lapse == pytest.approx(0.06, abs=0.015)


def test_one_late_answer_at_a_low_level_moves_nothing() -> None:
    clean = expected(LEVELS)
    stray = [Observation(2, 199, 200), *(seen for seen in clean if seen.level != 2)]
    assert CapacityFit(stray, 0.95, 50).capacity().users == CapacityFit(clean, 0.95, 50).capacity().users


def test_a_server_that_never_falls_holds_the_highest_level_or_more() -> None:
    capacity = CapacityFit([Observation(level, 100, 100) for level in (1, 5, 10, 10, 10)], 0.95, 10).capacity()
    assert (capacity.users, capacity.low, capacity.high) == (10, 10, 10)


def test_a_server_too_slow_for_one_user_holds_none() -> None:
    capacity = CapacityFit([Observation(1, 20, 100), Observation(1, 25, 100)], 0.95, 50).capacity()
    assert (capacity.users, capacity.high) == (0, 0)


def test_too_many_stalls_at_any_load_hold_none() -> None:
    seen = [Observation(level, 180, 200) for level in (1, 2, 4, 8)]
    assert CapacityFit(seen, 0.95, 50).capacity().users == 0


def test_strict_trials_pass_or_fail_as_a_whole() -> None:
    passes = {1: 3, 2: 3, 4: 3, 5: 8, 6: 6, 7: 2, 8: 1, 12: 0}
    seen = [Observation(level, int(index < good), 1) for level, good in passes.items() for index in range(max(good, 8))]
    capacity = CapacityFit(seen, 0.5, 50).capacity()
    assert capacity.users == 6
    assert capacity.low <= 6 <= capacity.high


def test_trials_that_scatter_are_believed_less() -> None:
    steady = [Observation(level, good, 200) for level, good in ((16, 186), (18, 150))] * 6
    wild = [Observation(level, good, 200) for level, good in ((16, 198), (16, 174), (18, 190), (18, 110))] * 3
    sure, unsure = (CapacityFit(seen, 0.9, 50).capacity((18,)).curve[0] for seen in (steady, wild))
    assert unsure.high - unsure.low > 1.5 * (sure.high - sure.low)


def test_users_whose_answers_are_alike_count_less() -> None:
    independent = Observation(16, 128, 160, ((8, 10),) * 16)
    alike = Observation(16, 128, 160, ((0, 10), (10, 10), (10, 10), (10, 10)) * 3 + ((8, 10),) + ((10, 10),) * 3)
    assert likeness([independent]) == 1
    assert likeness([alike]) > 3
    narrow, wide = (CapacityFit([Observation(8, 160, 160), seen], 0.9, 50).capacity() for seen in (independent, alike))
    assert wide.high - wide.low >= narrow.high - narrow.low


def test_a_further_answer_tells_most_near_the_edge() -> None:
    fit = CapacityFit(expected(LEVELS), 0.95, 50)
    assert 15 <= max(range(1, 51), key=fit.information) <= 19


def test_the_band_of_the_curve_falls_and_holds_the_truth() -> None:
    curve = CapacityFit(expected(LEVELS), 0.95, 50).capacity(range(1, 21)).curve
    assert [point.share for point in curve] == sorted((point.share for point in curve), reverse=True)
    assert all(point.low - 0.005 <= falling(point.level) <= point.high + 0.005 for point in curve if point.level > 8)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(7), 0
    for _ in range(60):
        true = random.uniform(9, 30)
        levels = random.integers(int(true * 0.7), int(true * 1.3) + 1, 10)
        shares = [0.97 / (1 + (0.97 / 0.9 - 1) * (level / true) ** 20) for level in levels]
        seen = [Observation(int(n), int(random.binomial(80, p)), 80) for n, p in zip(levels, shares, strict=True)]
        capacity = CapacityFit(seen, 0.9, 50).capacity()
        held += capacity.low <= int(true) <= capacity.high
    assert held >= 55


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 50), st.integers(0, 50)), max_size=6))
def test_any_trials_in_any_order_give_one_distribution(trials: list[tuple[int, int, int]]) -> None:
    seen = [Observation(level, good, good + late) for level, good, late in trials if good + late]
    first, second = (CapacityFit(order, 0.95, 20).capacity() for order in (seen, seen[::-1]))
    assert sum(first.chances) == pytest.approx(1)
    assert first.low <= first.users <= first.high
    assert first.chances == pytest.approx(second.chances)
