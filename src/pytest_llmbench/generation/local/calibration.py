"""The batch size on a CPU and the number of threads, measured for a second at most: shared cores defy assumption.

Two threads on two shared cores gave a sixth of what one gave on some machines and nearly twice as much on others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_llmbench.core.machine import usable_cores

_SECONDS = 1.0
_CLEAR = 1.25  # times as fast as any other choice: more looks would not choose another


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was chosen, and the seconds that one decoding step took with each number of threads."""

    threads: int
    batch_size: int
    step_s: dict[int, float]


def thread_choices(cores: int | None = None) -> list[int]:
    """1, 2, 4, … and the number of cores; of those that the process may use where none is given."""
    cores = cores or usable_cores()
    return sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores})


def step_seconds(step: Callable[[], object], set_threads: Callable[[int], None]) -> dict[int, float]:
    """The least seconds that `step` took with each number of threads, looked at in turn until one is clearly fastest.

    Turns are interleaved, so that a neighbour's burst of load hits all choices alike; the minimum ignores it. After a
    second the fastest so far is taken.
    """
    choices = thread_choices()
    best = dict.fromkeys(choices, float("inf"))
    end = time.perf_counter() + _SECONDS
    rounds = 0
    while rounds < 2 or (time.perf_counter() < end and not _is_clear(best)):  # noqa: PLR2004  # the first one warms up
        for threads in choices:
            set_threads(threads)
            started = time.perf_counter()
            step()
            best[threads] = min(best[threads], time.perf_counter() - started)
        rounds += 1
    return best


def _is_clear(seconds: Mapping[int, float]) -> bool:
    first, *others = sorted(seconds.values())
    return not others or others[0] >= _CLEAR * first


def rows_at_once(step_s: Mapping[int, float], most: int) -> int:
    """As many rows as memory is reckoned for, where more rows answer faster than few; else the few.

    Their time is no reason for fewer: an answer's timeout counts its share of each step, which more rows make smaller.

    Args:
        step_s: seconds of a decoding step by number of rows, for two numbers.
        most: the rows whose keys and values find room.
    """
    (few, few_s), (many, many_s) = sorted(step_s.items())
    return most if many_s / many < few_s / few else few
