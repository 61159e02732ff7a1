"""Exact tests and intervals of paired yes-or-no scores: so many cases got better, so many worse, of so many.

The share that differs is a nuisance: p-values are the greatest over all it may be, so that no assumption about it, and
no large number of cases, is needed. Outcomes are ordered by the score statistic of Tango (1998); where the border is 0
by McNemar's mid-p, then anew by the chance of that at the share that was seen, before maximising ("E+M", Lloyd 2008).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

EXACT_CASES = 500
"""Up to so many cases every outcome is looked at; with more, normal and exact p-values come to the same."""
_CACHED = 8192
_TIE = 1e-9
_UNLIKELY = 1e-14
_SHARES = np.concatenate(  # of differing pairs: the greatest chance may lie close to either end
    [np.geomspace(1e-4, 0.05, 50), np.linspace(0.055, 0.97, 170), 1 - np.geomspace(0.03, 3e-4, 50), [1.0]]
)
_NUISANCE = np.concatenate([[0.0], np.geomspace(2e-4, 0.05, 12), np.linspace(0.07, 1.0, 20)])
_NEAR = 6  # points on either side of the greatest that was found
_ENDS = 3e-4  # of a whole: how closely an exact interval's end is known
_SCORE_ENDS = 1e-8


class Counts(NamedTuple):
    """How many cases got better, and worse, of how many."""

    better: int
    worse: int
    cases: int

    @property
    def effect(self) -> float:
        """The mean change."""
        return (self.better - self.worse) / self.cases

    def mirrored(self) -> Counts:
        """Better and worse exchanged."""
        return Counts(self.worse, self.better, self.cases)


def p_above(counts: Counts, null: float = 0.0) -> float:
    """The p-value of "the mean change is at most `null`", which is between -1 and 1, against "it is above"."""
    if null >= 1:
        return 1.0
    if null <= -1:
        return 1.0 if counts.worse == counts.cases else 0.0
    if counts.cases > EXACT_CASES:
        return _of_many(counts, null)
    return _no_change(*counts) if null == 0 else _beyond(counts, null)


def end_below(counts: Counts, level: float, border: float) -> float:
    """The lower end of a one-sided interval: what is below it, `p_above` rejects at this level.

    It lies above `border` if, and only if, `border` itself is rejected: a verdict and its interval agree.
    """
    effect = counts.effect
    low, high = -1.0, effect
    if counts.cases > EXACT_CASES:
        low = _score_end(counts, level)
        if -1 < border < effect:  # no change is judged by another statistic
            low = max(low, float(np.nextafter(border, 1))) if p_above(counts, border) <= level else min(low, border)
        return low
    if -1 < border < effect:
        low, high = (border, effect) if p_above(counts, border) <= level else (-1.0, border)
    if low == -1 and counts.worse == counts.cases:
        return -1.0
    return _crossing(counts, level, low, high)


def _crossing(counts: Counts, level: float, low: float, high: float) -> float:
    """Where the p-value rises to the level, between a rejected `low` and a `high` that is not."""
    guess = _score_end(counts, level)
    for near in (guess - 0.004, guess + 0.004, guess - 0.03):
        if low < near < high:
            low, high = (near, high) if p_above(counts, near) <= level else (low, near)
    while high - low > _ENDS:
        middle = (low + high) / 2
        low, high = (middle, high) if p_above(counts, middle) <= level else (low, middle)
    return (low + high) / 2


def _score_end(counts: Counts, level: float) -> float:
    """The end of Tango's interval, which takes the score statistic for normal."""
    from scipy import special

    quantile, low, high = float(special.ndtri(1 - level)), -1.0, counts.effect
    while high - low > _SCORE_ENDS:
        middle = (low + high) / 2
        low, high = (middle, high) if float(_score(*counts, middle)) > quantile else (low, middle)
    return (low + high) / 2


def _of_many(counts: Counts, null: float) -> float:
    from scipy import special, stats

    if null == 0:
        moved = counts.better + counts.worse
        return float(stats.binom.sf(counts.better - 1, moved, 0.5))
    return float(special.ndtr(-_score(*counts, null)))


def _score(better: int | Integers, worse: int | Integers, cases: int, null: float) -> Floats:
    """Tango's statistic: the mean change less `null`, over its standard error where `null` is the truth."""
    middle = better + worse + (better - worse - 2 * cases) * null
    root = np.sqrt(np.maximum(middle**2 + 8 * cases * worse * null * (1 - null), 0))
    share_worse = (middle + root) / (4 * cases)
    variance = np.maximum(2 * share_worse + null - null**2, 0)
    beyond = better - worse - cases * null
    return np.asarray(beyond / np.sqrt(cases * np.maximum(variance, _UNLIKELY)))


@functools.lru_cache(maxsize=_CACHED)
def _beyond(counts: Counts, null: float) -> float:
    """Exact and unconditional: the chance of a statistic as great, at the nuisance where that is greatest."""
    least = _least_better(counts, null)
    most = (1 - abs(null)) / 2
    grid = most * _NUISANCE
    chances = _tails(least, counts.cases, null, grid)
    top = int(chances.argmax())
    around = np.linspace(grid[max(top - 1, 0)], grid[min(top + 1, len(grid) - 1)], 2 * _NEAR)
    return float(min(1.0, max(chances[top], _tails(least, counts.cases, null, around).max())))


def _least_better(counts: Counts, null: float) -> Integers:
    """For each number that got worse, how many better make the statistic as great as was seen; too many where none."""
    seen = float(_score(*counts, null))
    seen -= _TIE * max(1.0, abs(seen))
    worse = np.arange(counts.cases + 1)
    low, high = np.full(len(worse), -1), counts.cases - worse + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = _score(middle, worse, counts.cases, null) >= seen
        open_ones = high - low > 1
        high = np.where(open_ones & reached, middle, high)
        low = np.where(open_ones & ~reached, middle, low)
    return high


def _tails(least: Integers, cases: int, null: float, nuisance: Floats) -> Floats:
    """The chance of an outcome at or beyond `least`, for each value of the nuisance."""
    from scipy import special

    share_worse = (nuisance + max(0.0, -null))[:, None]
    share_better = share_worse + null
    worse = np.arange(cases + 1)
    chance = _binomial(cases, share_worse)
    rows, columns = np.nonzero(chance > _UNLIKELY)
    at_least, left = least[columns], cases - worse[columns]
    among = np.clip(share_better[rows, 0] / np.maximum(1 - share_worse[rows, 0], _UNLIKELY), 0, 1)
    inner = np.zeros(len(rows))
    inner[at_least <= 0] = 1
    some = (at_least > 0) & (at_least <= left)
    inner[some] = special.betainc(at_least[some], left[some] - at_least[some] + 1, among[some])
    return np.asarray(np.bincount(rows, chance[rows, columns] * inner, len(nuisance)), dtype=np.float64)


def _binomial(cases: int, shares: Floats) -> Floats:
    """The chance of each number of cases, for shares in rows: scipy's own checks take longer than this."""
    from scipy import special

    counts = np.arange(cases + 1)
    logs = special.xlogy(counts, shares) + special.xlog1py(cases - counts, -shares) + _log_ways(cases)
    return np.exp(logs)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _log_ways(cases: int) -> Floats:
    from scipy import special

    counts = np.arange(cases + 1)
    return special.gammaln(cases + 1) - special.gammaln(counts + 1) - special.gammaln(cases - counts + 1)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=_CACHED)
def _no_change(better: int, worse: int, cases: int) -> float:
    """McNemar's test by E+M: "better is as likely as worse", at the least favourable share of differing pairs."""
    from scipy import stats

    moved = better + worse
    if better <= worse:
        return float(stats.binom.sf(better - 1, moved, 0.5)) if moved else 1.0
    least = _least_better_of_moved(better, moved, cases)
    tails = _half_tails(cases)[np.arange(cases + 1), least]
    chances = _share_chances(cases) @ tails
    top = int(chances.argmax())
    around = np.linspace(_SHARES[max(top - 1, 0)], _SHARES[min(top + 1, len(_SHARES) - 1)], 2 * _NEAR)
    near = _binomial(cases, around[:, None]) @ tails
    return float(min(1.0, max(chances[top], near.max())))


def _least_better_of_moved(better: int, moved: int, cases: int) -> Integers:
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
        rows = np.nonzero(chances[:, count] > _UNLIKELY)[0]
        least = orders[count, : count + 1].searchsorted(sought[rows])
        found[rows] += chances[rows, count] * tails[count, least]
    return found


@functools.lru_cache(maxsize=64)
def _orders(cases: int) -> Floats:
    """Minus McNemar's mid-p of so many better (columns) of so many differing pairs (rows)."""
    from scipy import stats

    throws, heads = np.arange(cases + 1)[:, None], np.arange(cases + 1)
    return -(stats.binom.sf(heads, throws, 0.5) + 0.5 * stats.binom.pmf(heads, throws, 0.5))  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _half_tails(cases: int) -> Floats:
    """The chance of at least so many heads (columns) in so many throws (rows)."""
    from scipy import stats

    throws = np.arange(cases + 1)[:, None]
    found = stats.binom.sf(np.arange(cases + 2) - 1, throws, 0.5)
    found[0] = 0
    return found  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _moved_chances(cases: int) -> Floats:
    """The chance of so many differing pairs (columns) where a share of so many of all cases (rows) differs."""
    from scipy import stats

    counts = np.arange(cases + 1)
    return stats.binom.pmf(counts, cases, counts[:, None] / cases)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _share_chances(cases: int) -> Floats:
    from scipy import stats

    return stats.binom.pmf(np.arange(cases + 1), cases, _SHARES[:, None])  # type: ignore[no-any-return]
