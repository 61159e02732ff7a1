"""What trials say of the capacity when nothing is taken for granted but that the share of good answers never rises.

The parametric curves of `capacity` are sharp, and wrong where a server falls in another way: a plateau just below the
promise, say. Here the curve may be any falling one. The likelihood ratio of each capacity against the best falling
curve is that of Banerjee and Wellner (2001, "Likelihood ratio tests for monotone functions"): both are isotonic
regressions, and the constrained one is cut off at the promised share on either side of the capacity.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.stats.observation import Observation

    Floats = NDArray[np.float64]

_TINY = 1e-9
_LEAST_SHARE = 0.01  # of good answers, in the variance that chance explains
_HALF_AN_ANSWER = 0.5
_SHARPER = 1.2  # power of Chernoff's bound, which is never reached


def isotonic(good: Sequence[float], total: Sequence[float]) -> list[float]:
    """The falling shares under which such counts are likeliest, level by level (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for one, count in zip(good, total, strict=True):
        blocks.append((one, count, 1))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] < blocks[-1][0] * blocks[-2][1]:
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    return [one / count for one, count, levels in blocks for _ in range(levels)]


def chances(trials: Sequence[Observation], share: float, highest: int, alike: float) -> Floats:
    """The confidence in each capacity from 0 to `highest`; what lies above the highest level tried is at the last.

    A confidence distribution: that the capacity is at most n has half the p-value of n below the likeliest levels, that
    it is at least n half of it above them. The p-value is close to Chernoff's bound, the likelihood ratio itself, which
    holds for few answers too. So many answers count as one as users are `alike`, or as trials scatter
    around the best falling curve, whichever is more.
    """
    if not trials:
        return np.full(highest + 1, 1 / (highest + 1))
    good, total = _pooled(trials)
    effect = max(alike, _scatter(trials, good, total))
    levels = sorted(total)
    ratios = _ratios([good[one] / effect for one in levels], [total[one] / effect for one in levels], share)
    likely = ratios[np.searchsorted(levels, np.arange(highest + 1), side="right")]
    best = np.flatnonzero(likely == likely.min())
    half = np.exp(-_SHARPER * likely) / 2
    at_most = np.maximum.accumulate(half)
    more = np.append(np.maximum.accumulate(half[::-1])[::-1][1:], 0.0)
    first, last = best[0], best[-1]
    before = at_most[first - 1] if first else 0.0
    at_most[last:] = 1 - more[last:]
    at_most[first : last + 1] = np.linspace(before, 1 - more[last], last - first + 2)[1:]
    return np.diff(at_most, prepend=0.0)


def _pooled(trials: Sequence[Observation]) -> tuple[dict[int, int], dict[int, int]]:
    """Good answers and all answers at each level."""
    good, total = defaultdict[int, int](int), defaultdict[int, int](int)
    for trial in trials:
        good[trial.level] += trial.good
        total[trial.level] += trial.total
    return good, total


def _scatter(trials: Sequence[Observation], good: dict[int, int], total: dict[int, int]) -> float:
    """Pearson's statistic of trials around the best falling curve, over its degrees of freedom; at least 1."""
    levels = sorted(total)
    curve = dict(zip(levels, isotonic([good[one] for one in levels], [total[one] for one in levels]), strict=True))
    statistic = 0.0
    for trial in trials:
        share = min(max(curve[trial.level], _LEAST_SHARE), 1 - _HALF_AN_ANSWER / trial.total)
        statistic += (trial.good - trial.total * share) ** 2 / (trial.total * share * (1 - share))
    return max(1.0, statistic / max(1, len(trials) - len(set(curve.values()))))


def _ratios(good: Sequence[float], total: Sequence[float], share: float) -> Floats:
    """By how much log likelihood the best falling curve beats one that crosses `share` before each level, and last."""
    best = _likelihood(good, total, isotonic(good, total))
    found = []
    for place in range(len(good) + 1):
        held = [max(share, one) for one in isotonic(good[:place], total[:place])]
        lost = [min(share, one) for one in isotonic(good[place:], total[place:])]
        found.append(max(0.0, best - _likelihood(good, total, [*held, *lost])))
    return np.array(found)


def _likelihood(good: Sequence[float], total: Sequence[float], shares: Sequence[float]) -> float:
    return sum(
        one * math.log(max(share, _TINY)) + (count - one) * math.log(max(1 - share, _TINY))
        for one, count, share in zip(good, total, shares, strict=True)
    )
