from __future__ import annotations

import pytest

from pytest_llmbench.generation.local import calibration
from pytest_llmbench.generation.local.calibration import rows_at_once, step_seconds, thread_choices


@pytest.mark.parametrize(
    ("cores", "choices"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])],
)
def test_powers_of_two_and_all_cores_are_tried(cores: int, choices: list[int]) -> None:
    assert thread_choices(cores) == choices


def test_as_many_threads_are_tried_as_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert thread_choices() == [1, 2]


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
    ("step_s", "rows"),
    [
        ({16: 0.1, 32: 0.15}, 32),
        ({16: 10.0, 32: 15.0}, 32),  # a slow machine: each answer's share of a step is as small as on a fast one
        ({1: 0.025, 8: 0.033}, 32),
        ({16: 0.1, 32: 0.2}, 16),
        ({1: 0.1, 8: 0.9}, 1),
    ],
)
def test_many_rows_are_answered_at_once_where_that_is_faster(step_s: dict[int, float], rows: int) -> None:
    assert rows_at_once(step_s, 32) == rows


def test_more_rows_are_answered_at_once_where_there_is_room() -> None:
    assert rows_at_once({16: 0.1, 32: 0.15}, 64) == 64
