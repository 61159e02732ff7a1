"""Up to which size a cost that need not rise keeps a limit often enough."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_llmbench.stats.late_shares import Kept, kept

LIMIT = 3.0


def swept(late: dict[int, int], asked: int = 30) -> list[tuple[float, float]]:
    """So many answers at each size, of which so many are late."""
    return [(float(size), 5.0 if place < count else 0.2) for size, count in late.items() for place in range(asked)]


def test_one_late_answer_of_many_breaks_no_promise_of_most_and_any_promise_of_all() -> None:
    points = swept({256: 0, 512: 1, 1024: 0, 2048: 0, 4096: 0})
    assert kept(points, LIMIT, 0.95) == Kept(4096, math.inf, 1024, math.inf)
    assert kept(points, LIMIT, 1.0) == Kept(256, 512, 0, 512)


def test_sizes_at_which_surely_too_many_are_late_end_it() -> None:
    assert kept(swept({256: 0, 512: 0, 1024: 9, 2048: 30}), LIMIT, 0.95) == Kept(512, 1024, 0, 1024)


@pytest.mark.parametrize("asked", [1, 2])
def test_a_few_late_answers_may_be_chance(asked: int) -> None:
    found = kept([(256.0, 5.0)] * asked, LIMIT, 0.9)
    assert (found.longest, found.late) == (0, 256)
    assert found.surely_late == (math.inf if asked == 1 else 256)


def test_what_is_sure_is_true_as_often_as_it_says() -> None:
    draw, wrong = np.random.default_rng(1), 0
    sizes = np.repeat([256.0, 512, 1024, 2048, 4096, 8144], 30)
    chances = np.where(sizes < 2000, 0.03, 0.08)
    for _ in range(200):
        costs = np.where(draw.random(len(sizes)) < chances, 5.0, 0.2)
        found = kept(list(zip(sizes, costs, strict=True)), LIMIT, 0.95)
        assert found.surely <= found.longest < found.late <= found.surely_late
        wrong += found.surely > 1024 or found.surely_late < 2048
    assert wrong <= 10
