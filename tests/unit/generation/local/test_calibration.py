from __future__ import annotations

import pytest

from pytest_llmbench.generation.local import calibration
from pytest_llmbench.generation.local.calibration import fitting_batch_size, step_seconds, thread_choices


@pytest.mark.parametrize(
    ("cores", "choices"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])],
)
def test_powers_of_two_and_all_cores_are_tried(cores: int, choices: list[int]) -> None:
    assert thread_choices(cores) == choices


def test_the_least_time_of_each_number_of_threads_counts_and_each_is_tried_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, threads = 0.0, 0
    tried: list[int] = []
    costs = {1: [9.0, 1.0], 2: [8.0, 0.5], 4: [0.7, 0.6]}  # the first look at each is slow, since caches are cold

    def set_threads(number: int) -> None:
        nonlocal threads
        threads = number
        tried.append(number)

    def step() -> None:
        nonlocal clock
        clock += costs[threads][tried.count(threads) - 1]

    monkeypatch.setattr(calibration, "thread_choices", lambda: [1, 2, 4])
    monkeypatch.setattr("pytest_llmbench.generation.local.calibration.time.perf_counter", lambda: clock)
    assert step_seconds(step, set_threads) == pytest.approx({1: 1.0, 2: 0.5, 4: 0.6})
    assert tried == [1, 2, 4, 1, 2, 4]


@pytest.mark.parametrize(
    ("one_row_s", "eight_rows_s", "size"),
    [
        (0.0, 0.0, 32),
        (0.025, 0.033, 32),  # a small model: the weights are most of a step
        (0.025, 0.074, 8),
        (0.025, 0.060, 16),
        (0.110, 0.150, 2),
        (0.110, 0.100, 32),  # noise: more rows cannot be faster, nor slower than measured
        (0.2, 0.3, 1),
        (10.0, 20.0, 1),
    ],  # half of 30 s over 128 tokens: 0.117 s a step
)
def test_a_batch_is_as_large_as_answers_of_full_length_end_in_half_their_time(
    one_row_s: float, eight_rows_s: float, size: int
) -> None:
    assert fitting_batch_size({1: one_row_s, 8: eight_rows_s}, max_new_tokens=128, timeout_s=30.0) == size
