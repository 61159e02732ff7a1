"""The batch size on a CPU and the number of threads, measured for about a second, because shared cores defy assumption.

Two threads on two shared cores gave a sixth of what one gave on some machines and nearly twice as much on others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_SECONDS = 1.0
_BATCH_SIZES = (32, 16, 8, 4, 2, 1)
_TIME_SHARE = 0.5  # an answer of full length may take this share of its timeout


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was chosen, and the seconds that one decoding step took with each number of threads."""

    threads: int
    batch_size: int
    step_s: dict[int, float]


def thread_choices(cores: int | None = None) -> list[int]:
    """1, 2, 4, … and the number of cores."""
    cores = cores or os.cpu_count() or 1
    return sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores})


def step_seconds(step: Callable[[], object], set_threads: Callable[[int], None]) -> dict[int, float]:
    """The least seconds that `step` took with each number of threads, looked at in turn for about a second.

    Turns are interleaved, so that a neighbour's burst of load hits all choices alike; the minimum ignores it.
    """
    choices = thread_choices()
    best = dict.fromkeys(choices, float("inf"))
    end = time.perf_counter() + _SECONDS
    rounds = 0
    while rounds < 2 or time.perf_counter() < end:  # noqa: PLR2004  # the first look also warms the caches
        for threads in choices:
            set_threads(threads)
            started = time.perf_counter()
            step()
            best[threads] = min(best[threads], time.perf_counter() - started)
        rounds += 1
    return best


def fitting_batch_size(step_s: Mapping[int, float], max_new_tokens: int, timeout_s: float) -> int:
    """The largest batch whose answers end well within their timeout.

    Args:
        step_s: seconds of a decoding step by number of rows, for two numbers: reading the weights costs the same for
            any number of rows, so that a step is a constant and a slope.
        max_new_tokens: steps of the longest answer.
        timeout_s: seconds that an answer may take.
    """
    (few, few_s), (many, many_s) = sorted(step_s.items())
    row_s = max(0.0, (many_s - few_s) / (many - few))
    for size in _BATCH_SIZES:
        if (few_s + (size - few) * row_s) * max_new_tokens <= _TIME_SHARE * timeout_s:
            return size
    return 1
