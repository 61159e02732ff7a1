"""Trials that contradict each other: fewer users had it clearly worse than as many or more had at another time.

No falling curve explains that, and no chance: something disturbed the server or the way to it, for a while.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.stats.capacity import likeness

if TYPE_CHECKING:
    from pytest_llmbench.stats.observation import Observation

_BY_CHANCE = 1e-6
"""Below this probability chance is ruled out: trials at the edge differ widely by how a queue happens to begin."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """`worse` is the trial that does not fit; the others from its level up to `level` had `good` of `total`."""

    worse: Observation
    level: int
    good: int
    total: int


def contradiction(trials: Sequence[Observation]) -> Contradiction | None:
    """The clearest one, if there is any (Fisher's exact test, answers of users who are alike count as fewer)."""
    alike, least, clearest = likeness(trials), _BY_CHANCE, None
    for place, trial in enumerate(trials):
        rest = sorted((one for other, one in enumerate(trials) if other != place), key=lambda one: one.level)
        good = total = 0
        for one in rest:
            if one.level < trial.level:
                continue
            good, total = good + one.good, total + one.total
            chance = _chance(trial.good / alike, trial.total / alike, good / alike, total / alike)
            if chance < least:
                least, clearest = chance, Contradiction(trial, one.level, good, total)
    return clearest


def _chance(good: float, total: float, others_good: float, others_total: float) -> float:
    """The probability that so few of the good answers, or fewer, fall into the one trial; of whole answers."""
    drawn, bad = round(total), round(total) - round(good)
    everything = drawn + round(others_total)
    all_bad = bad + round(others_total) - round(others_good)
    if not bad or good * others_total >= others_good * total:
        return 1.0
    logs = [
        _log_choose(drawn, some) + _log_choose(everything - drawn, all_bad - some) - _log_choose(everything, all_bad)
        for some in range(bad, min(drawn, all_bad) + 1)
    ]
    return sum(map(math.exp, logs))


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)
