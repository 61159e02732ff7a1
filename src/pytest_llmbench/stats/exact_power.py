"""The change of yes-or-no scores that the exact tests find so often, by the very tests that judge."""

from __future__ import annotations

import functools

import numpy as np

from pytest_llmbench.stats import mcnemar, tango

_ENDS = 1e-4  # of a whole: how closely the change is known


def power(cases: int, churn: float, change: float, level: float, null: float = 0.0) -> float:
    """The chance that "the mean change is above `null`" is shown, where a share of so many changes in any case.

    Half of the churn gets better and half worse, and the change comes on top of it.
    """
    worse = min(churn, 1 - change) / 2
    if null == 0:
        return mcnemar.power(mcnemar.least_shown(cases, level), worse + change, worse)
    return float(tango.tails(tango.least_shown(cases, null, level), cases, change, np.array([worse]))[0])


@functools.lru_cache(maxsize=4096)
def least_found(cases: int, churn: float, level: float, null: float, wanted: float) -> float | None:
    """The smallest mean change beyond `null` that is shown with this power; None where the greatest is not."""
    low, high = null, 1.0
    if power(cases, churn, high, level, null) < wanted:
        return None
    while high - low > _ENDS:
        middle = (low + high) / 2
        low, high = (low, middle) if power(cases, churn, middle, level, null) >= wanted else (middle, high)
    return high
