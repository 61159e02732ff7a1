"""Tango's test (1998) of paired yes-or-no scores at a margin: exact and unconditional.

The share that differs is a nuisance: a p-value is the greatest over all it may be. Outcomes are ordered by the score
statistic, which is a normal one in the limit.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.stats.binomial import UNLIKELY, binomial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_CACHED = 8192
_TIE = 1e-9
_NUISANCE = np.concatenate([[0.0], np.geomspace(2e-4, 0.05, 12), np.linspace(0.07, 1.0, 20)])
_NEAR = 6  # points on either side of the greatest that was found


def tango_score(better: int | Integers, worse: int | Integers, cases: int, null: float) -> Floats:
    """Tango's statistic: the mean change less `null`, over its standard error where `null` is the truth."""
    middle = better + worse + (better - worse - 2 * cases) * null
    root = np.sqrt(np.maximum(middle**2 + 8 * cases * worse * null * (1 - null), 0))
    share_worse = (middle + root) / (4 * cases)
    variance = np.maximum(2 * share_worse + null - null**2, 0)
    beyond = better - worse - cases * null
    return np.asarray(beyond / np.sqrt(cases * np.maximum(variance, UNLIKELY)))


@functools.lru_cache(maxsize=_CACHED)
def tango_p(better: int, worse: int, cases: int, null: float) -> float:
    """Exact and unconditional: the chance of a statistic as great, at the nuisance where that is greatest."""
    least = _least_better(float(tango_score(better, worse, cases, null)), cases, null)
    return _greatest(least, cases, null)


@functools.lru_cache(maxsize=256)
def tango_least(cases: int, null: float, level: float) -> Integers:
    """For each number that got worse, how many better have a p-value of at most the level; too many where none."""
    worse = np.arange(cases + 1)[:, None]
    better = np.arange(cases + 1)
    likely = (better + worse <= cases) & (better - worse > cases * null)
    scores = np.unique(tango_score(better, worse, cases, null)[likely])[::-1]
    low, high = -1, len(scores)  # p-values rise as scores fall
    while high - low > 1:
        middle = (low + high) // 2
        shown = _greatest(_least_better(float(scores[middle]), cases, null), cases, null) <= level
        low, high = (middle, high) if shown else (low, middle)
    return _least_better(float(scores[low]) if low >= 0 else np.inf, cases, null)


def _greatest(least: Integers, cases: int, null: float) -> float:
    """The chance of an outcome at or beyond `least`, at the nuisance where that is greatest."""
    most = (1 - abs(null)) / 2
    grid = most * _NUISANCE
    chances = tails(least, cases, null, grid)
    top = int(chances.argmax())
    around = np.linspace(grid[max(top - 1, 0)], grid[min(top + 1, len(grid) - 1)], 2 * _NEAR)
    return float(min(1.0, max(chances[top], tails(least, cases, null, around).max())))


def _least_better(seen: float, cases: int, null: float) -> Integers:
    """For each number that got worse, how many better make the statistic as great; too many where none."""
    seen -= _TIE * max(1.0, min(abs(seen), 1 / _TIE))
    worse = np.arange(cases + 1)
    low, high = np.full(len(worse), -1), cases - worse + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = tango_score(middle, worse, cases, null) >= seen
        open_ones = high - low > 1
        high = np.where(open_ones & reached, middle, high)
        low = np.where(open_ones & ~reached, middle, low)
    return high


def tails(least: Integers, cases: int, null: float, nuisance: Floats) -> Floats:
    """The chance of an outcome at or beyond `least`, for each value of the nuisance."""
    from scipy import special

    share_worse = (nuisance + max(0.0, -null))[:, None]
    share_better = share_worse + null
    worse = np.arange(cases + 1)
    chance = binomial(cases, share_worse)
    rows, columns = np.nonzero(chance > UNLIKELY)
    at_least, left = least[columns], cases - worse[columns]
    among = np.clip(share_better[rows, 0] / np.maximum(1 - share_worse[rows, 0], UNLIKELY), 0, 1)
    inner = np.zeros(len(rows))
    inner[at_least <= 0] = 1
    some = (at_least > 0) & (at_least <= left)
    inner[some] = special.betainc(at_least[some], left[some] - at_least[some] + 1, among[some])
    return np.asarray(np.bincount(rows, chance[rows, columns] * inner, len(nuisance)), dtype=np.float64)
