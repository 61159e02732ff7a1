"""The law of a cost by size: its parts, exponent, knee and steps, from measurements with known noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from support.context_documents import both, chunked, linear, quadratic

from pytest_llmbench.stats.cost_law import CostLaw, cost_law

SIZES = np.repeat([256.0, 512, 1024, 2048, 4096, 8192, 16384], 4)


def measured(law: Callable[[float], float], noise: float = 0.1, seed: int = 1) -> np.ndarray:
    """The law's seconds at the sizes, each with noise in proportion."""
    noises = np.random.default_rng(seed).normal(0, noise, len(SIZES))
    return np.array([law(size) for size in SIZES]) * np.exp(noises)


def seconds_of(law: CostLaw, size: float) -> float:
    read = math.ceil(size / law.step) * law.step if law.step else size
    return law.constant.value + law.per_unit.value * read + law.per_unit_squared.value * read**2


@pytest.mark.parametrize(("law", "exponent"), [(linear, 1.0), (quadratic, 2.0), (chunked, 1.0)])
def test_the_exponent_is_within_a_tenth(law: Callable[[float], float], exponent: float) -> None:
    found = cost_law(SIZES, measured(law))
    assert found is not None
    assert found.exponent is not None
    assert found.exponent.value == pytest.approx(exponent, rel=0.1)
    assert found.exponent.low <= exponent <= found.exponent.high


def test_each_part_lies_in_its_interval_and_the_knee_is_where_the_square_takes_over() -> None:
    found = cost_law(SIZES, measured(both))
    assert found is not None
    assert found.constant.low <= 0.05 <= found.constant.high
    assert found.per_unit.low <= 1e-4 <= found.per_unit.high
    assert found.per_unit_squared.low <= 2.5e-8 <= found.per_unit_squared.high
    assert found.knee is not None
    assert found.knee.low <= 4000 <= found.knee.high
    assert found.step is None
    assert seconds_of(found, 8192) == pytest.approx(both(8192), rel=0.1)


def test_prompts_that_are_read_in_pieces_show_the_size_of_a_piece() -> None:
    found = cost_law(SIZES, measured(chunked, noise=0.05))
    assert found is not None
    assert found.step == 1024
    assert seconds_of(found, 1025) == seconds_of(found, 2048)
    assert found.knee is None


def test_a_cost_that_does_not_grow_has_no_exponent() -> None:
    found = cost_law(SIZES, measured(lambda _: 0.1))
    assert found is not None
    assert found.per_unit.low == found.per_unit_squared.low == 0
    assert found.exponent is None


def test_one_slow_answer_does_not_bend_the_law() -> None:
    seconds = measured(linear, noise=0.05)
    seconds[-1] *= 20
    found = cost_law(SIZES, seconds)
    assert found is not None
    assert seconds_of(found, 16384) == pytest.approx(linear(16384), rel=0.1)


def test_too_few_measurements_make_no_law() -> None:
    assert cost_law(np.array([256.0, 512, 512, 512]), np.array([0.1, 0.2, 0.2, 0.2])) is None
    assert cost_law(np.array([256.0, 512, 1024]), np.array([0.1, 0.2, 0.4])) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_times_that_cannot_be_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        cost_law(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, seconds]))
