"""How many threads, and how many prompts at once: measured for about a second, because shared cores defy assumption.

Two threads on two shared cores gave a sixth of what one gave on some machines and nearly twice as much on others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
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


def fastest_threads(step: Callable[[], object], set_threads: Callable[[int], None]) -> dict[int, float]:
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


def fitting_batch_size(row_s: float, max_new_tokens: int, timeout_s: float) -> int:
    """The largest batch whose answers end well within their timeout, when each row costs `row_s` a step."""
    for size in _BATCH_SIZES:
        if size * row_s * max_new_tokens <= _TIME_SHARE * timeout_s:
            return size
    return 1
