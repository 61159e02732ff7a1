"""McNemar's test of paired yes-or-no scores by estimation and maximisation ("E+M", Lloyd 2008): exact, unconditional.

Outcomes are ordered by McNemar's mid-p, then anew by the chance of that at the share of differing pairs that was seen,
and a p-value is the greatest chance over all that this share may be.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.stats.binomial import UNLIKELY, at_least, binomial

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_CACHED = 8192
_TIE = 1e-9
_SHARES = np.concatenate(  # of differing pairs: the greatest chance may lie close to either end
    [np.geomspace(1e-4, 0.05, 50), np.linspace(0.055, 0.97, 170), 1 - np.geomspace(0.03, 3e-4, 50), [1.0]]
)
_REACH = 8  # times a level: estimating moves no mid-p so far
_NEAR = 6  # points on either side of the greatest that was found


@functools.lru_cache(maxsize=_CACHED)
def mcnemar_p(better: int, worse: int, cases: int) -> float:
    """McNemar's test by E+M: "better is as likely as worse", at the least favourable share of differing pairs."""
    moved = better + worse
    if better <= worse:
        return float(at_least(better, moved, 0.5))
    return _greatest(_least_better(better, moved, cases), cases)


@functools.lru_cache(maxsize=256)
def mcnemar_least(cases: int, level: float) -> Integers:
    """For each number of differing pairs, how many better have a p-value of at most the level; too many where none."""
    mid_p = -_orders(cases)
    moved, better = np.nonzero(_possible(cases) & (mid_p >= level / _REACH) & (mid_p <= level * _REACH))
    estimated = _estimated(better, moved, cases)
    order = estimated.argsort()
    moved, better, estimated = moved[order], better[order], estimated[order]
    surely = np.where(_possible(cases) & (mid_p < level / _REACH), np.arange(cases + 1), cases + 1).min(axis=1)
    surely = np.minimum(surely, np.arange(cases + 1) + 1)

    def region(outcomes: int) -> Integers:
        least = surely.copy()
        np.minimum.at(least, moved[:outcomes], better[:outcomes])
        return np.asarray(least)

    last_of_tied = np.nonzero(np.append(estimated[1:] > estimated[:-1] * (1 + _TIE), True))[0] + 1
    ends = [0, *last_of_tied.tolist()]
    low, high = 0, len(ends)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _greatest(region(ends[middle]), cases) <= level else (low, middle)
    return region(ends[low])


def mcnemar_power(least: Integers, share_better: float, share_worse: float) -> float:
    """The chance of an outcome at or beyond `least`, where such shares of all cases get better, and worse."""
    moved = np.arange(len(least))
    chances = binomial(len(least) - 1, np.array([[share_better + share_worse]]))[0]
    return float(chances[1:] @ at_least(least[1:], moved[1:], share_better / (share_better + share_worse)))


def _possible(cases: int) -> NDArray[np.bool_]:
    """Which outcomes there are of which more than half of the differing pairs (rows) are better (columns)."""
    moved, better = np.arange(cases + 1)[:, None], np.arange(cases + 1)
    return np.asarray((better <= moved) & (2 * better > moved))


def _greatest(least: Integers, cases: int) -> float:
    """The chance of an outcome at or beyond `least`, at the share of differing pairs where that is greatest."""
    tails = _half_tails(cases)[np.arange(cases + 1), least]
    chances = _share_chances(cases) @ tails
    top = int(chances.argmax())
    around = np.linspace(_SHARES[max(top - 1, 0)], _SHARES[min(top + 1, len(_SHARES) - 1)], 2 * _NEAR)
    near = binomial(cases, around[:, None]) @ tails
    return float(min(1.0, max(chances[top], near.max())))


def _least_better(better: int, moved: int, cases: int) -> Integers:
    """For each number of differing pairs, how many better make the estimated p-value as small as was seen."""
    counts, orders = np.arange(cases + 1), _orders(cases)
    seen = _estimated(np.array([better]), np.array([moved]), cases)[0] * (1 + _TIE)
    low, high = counts // 2, counts + 1
    alike = np.array([orders[count, : count + 1].searchsorted(orders[moved, better]) for count in counts.tolist()])
    probes = iter((alike - 2, alike + 1))  # estimating moves few outcomes, and those not far
    while (open_ones := high - low > 1).any():
        probe = next(probes, (low + high) // 2)
        middle = np.where((low < probe) & (probe < high), probe, (low + high) // 2)
        reached = np.zeros(len(counts), dtype=bool)
        reached[open_ones] = _estimated(middle[open_ones], counts[open_ones], cases) <= seen
        high = np.where(open_ones & reached, middle, high)
        low = np.where(open_ones & ~reached, middle, low)
    return high


def _estimated(better: Integers, moved: Integers, cases: int) -> Floats:
    """The chance of as small a mid-p of McNemar's as each outcome has, at the share of differing pairs that it has."""
    orders, tails = _orders(cases), _half_tails(cases)
    sought = orders[moved, better] - _TIE * np.abs(orders[moved, better])
    found = np.zeros(len(moved))
    chances = _moved_chances(cases)[moved]
    for count in range(1, cases + 1):
        rows = np.nonzero(chances[:, count] > UNLIKELY)[0]
        least = orders[count, : count + 1].searchsorted(sought[rows])
        found[rows] += chances[rows, count] * tails[count, least]
    return found


@functools.lru_cache(maxsize=64)
def _orders(cases: int) -> Floats:
    """Minus McNemar's mid-p of so many better (columns) of so many differing pairs (rows)."""
    tails = at_least(np.arange(cases + 2), np.arange(cases + 1)[:, None], 0.5)
    return -(tails[:, :-1] + tails[:, 1:]) / 2


@functools.lru_cache(maxsize=64)
def _half_tails(cases: int) -> Floats:
    """The chance of at least so many heads (columns) in so many throws (rows)."""
    found = at_least(np.arange(cases + 2), np.arange(cases + 1)[:, None], 0.5)
    found[0] = 0
    return found


@functools.lru_cache(maxsize=64)
def _moved_chances(cases: int) -> Floats:
    """The chance of so many differing pairs (columns) where a share of so many of all cases (rows) differs."""
    return binomial(cases, np.arange(cases + 1)[:, None] / cases)


@functools.lru_cache(maxsize=64)
def _share_chances(cases: int) -> Floats:
    return binomial(cases, _SHARES[:, None])
