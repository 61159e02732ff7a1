"""Where a quantile of a noisy, rising cost crosses a limit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from pytest_llmbench.stats.crossing import Crossing, crossing

NORMAL_95 = 1.6448536
LIMIT = 3.0


def noisy(law: Callable[[float], float], sizes: np.ndarray, noise: np.ndarray) -> list[tuple[float, float]]:
    return [(float(size), law(float(size)) * math.exp(factor)) for size, factor in zip(sizes, noise, strict=True)]


def found_in(points: list[tuple[float, float]], quantile: float = 0.95) -> Crossing:
    found = crossing(points, LIMIT, quantile)
    assert found is not None
    return found


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_power_law_without_noise_is_crossed_where_it_is(power: float) -> None:
    found = found_in([(size, (size / 1000) ** power) for size in (200.0, 800, 2000, 3000, 9000, 20000)])
    assert found.size == pytest.approx(1000 * 3 ** (1 / power), rel=1e-3)
    assert found.slope == pytest.approx(power, rel=1e-6)


@pytest.mark.parametrize(
    "law", [lambda size: 0.2 + size / 2000, lambda size: 0.1 + (size / 4000) ** 2], ids=["linear", "quadratic"]
)
def test_the_interval_holds_the_crossing_of_the_quantile_as_often_as_it_says(law: Callable[[float], float]) -> None:
    sizes = np.geomspace(1000, 20_000, 4000)
    costs = np.array([law(float(size)) for size in sizes]) * math.exp(0.1 * NORMAL_95)
    truth = float(sizes[np.searchsorted(costs, LIMIT)])
    draw, held = np.random.default_rng(1), 0
    for _ in range(200):
        near = truth * np.exp(draw.normal(0, 0.1, 40))
        found = found_in(noisy(law, near, draw.normal(0, 0.1, 40)))
        held += found.low <= truth <= found.high
    assert held >= 180


def test_a_tail_that_is_heavier_than_normal_is_taken_from_the_measurements_once_they_show_it() -> None:
    draw = np.random.default_rng(2)
    stalls = np.where(draw.random(600) < 0.08, 0.7, 0.0) + draw.normal(0, 0.01, 600)
    truth = 1500 * math.exp(-0.7)
    found = found_in(noisy(lambda size: size / 500, truth * np.exp(draw.normal(0, 0.1, 600)), stalls))
    assert found.size == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize(
    "points",
    [
        [(1000.0, 1.0)] * 4,
        [(1000.0, 1.0)] * 9,
        [(size, 2.0) for size in (100.0, 200, 300, 400, 500, 600)],
        [(size, 1000 / size) for size in (100.0, 200, 300, 400, 500, 600)],
    ],
    ids=["too few", "one size", "flat", "falling"],
)
def test_what_shows_no_rise_crosses_nothing(points: list[tuple[float, float]]) -> None:
    assert crossing(points, LIMIT, 0.95) is None


def test_more_measurements_make_the_interval_narrower() -> None:
    draw = np.random.default_rng(3)
    widths = []
    for count in (20, 80, 320):
        sizes = 5000 * np.exp(draw.normal(0, 0.1, count))
        widths.append(found_in(noisy(lambda size: size / 1500, sizes, draw.normal(0, 0.1, count))).half_width)
    assert widths == sorted(widths, reverse=True)


def test_two_sizes_that_are_nearly_alike_do_not_tell_how_the_cost_rises() -> None:
    held = 0
    for seed in range(30):
        draw = np.random.default_rng(seed)
        sizes = np.repeat([2048.0, 4096, 8144, 8191], [30, 30, 30, 1 + seed % 8])
        noise = draw.normal(-0.15 * NORMAL_95, 0.15, len(sizes))
        points = noisy(lambda size: 3 * size / 7372, sizes, noise)
        found = found_in(points)
        held += found.low < 7372 < found.high
        assert found.slope == pytest.approx(1, abs=0.15)
        alone = crossing([point for point in points if point[0] > 8000], LIMIT, 0.95)
        assert alone is None or not alone.firm
    assert held >= 27


def test_one_slow_answer_beside_many_is_no_crossing() -> None:
    draw = np.random.default_rng(4)
    steady = noisy(lambda _: 0.2, np.repeat([1024.0, 2048, 4096, 8144], 30), draw.normal(0, 0.02, 120))
    assert crossing([*steady, (8191.0, 5.0)], LIMIT, 0.95) is None
