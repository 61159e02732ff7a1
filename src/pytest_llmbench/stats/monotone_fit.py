"""Falling curves of the share of good answers over load: every shape it is taken to have, and any that never rises.

A server answers nearly all in time up to some load and ever fewer beyond. Psychophysics fits such curves to yes-or-no
answers (Wichmann and Hill 2001, "The psychometric function") with a lapse rate, here the share that comes late at any
load: without it one stray stall at a low level would drag the whole curve down. Two shapes are mixed, because the fit
must hold for both: a logistic fall (queues with noise) and a constant share cut by a power of the level (waves: of 17
users on 16 places one comes late). Each is written in the level where it crosses the wanted share, which is what is
asked.

`chances` takes nothing for granted but that the share never rises: the parametric curves are sharp, and wrong where a
server falls in another way, a plateau just below the promise, say. The likelihood ratio of each capacity against the
best falling curve is that of Banerjee and Wellner (2001, "Likelihood ratio tests for monotone functions"): both are
isotonic regressions, and the constrained one is cut off at the promised share on either side of the capacity.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.stats.observation import Observation

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int32]


_STEPS = ((12.0, 0.25), (40.0, 0.5))  # up to this level, crossings are so far apart: none on a whole number
_RATIO = 1.0125  # and beyond, in proportion
_BEYOND = 1.6  # times the highest level: a crossing out of sight still shapes the curve in sight
_STEEPNESS = np.geomspace(3.0, 400.0, 11)  # of the logistic fall, over a rise of the level by the crossing
_POWERS = np.geomspace(0.02, 200.0, 12)  # the least loses 1.4 % of the answers where the load doubles
_FLAT, _RARELY_FLAT = 0.2, 0.1  # so little of the probability do flatter powers get: servers mostly fall steeply
_LAPSES = np.array([0.004, 0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9])  # of the share that may come late
_HOPELESS_LAPSES = np.array([1.1, 1.35, 1.8, 2.6, 4.0, 8.0])  # likewise: even one user would not be served
_WORST_LAPSE = 0.98
_HOPELESS = 0.05  # prior probability of these
_BUNCHING = np.array([(1, 2), (1, 6), (1, 16), (3, 10), (8, 8)])  # design effect without load, and what load adds
_KINDS = np.arange(float(len(_BUNCHING)))

_LOGITS = np.linspace(-8.0, 9.5, 401)
SHARES: Floats = 1 / (1 + np.exp(-_LOGITS))
"""The shares that are told apart, evenly spaced on the logit scale."""
EFFECTS: Floats = np.geomspace(1.0, 64.0, 25)
"""The design effects that are told apart: the variance of a trial's count over that of independent answers."""

_TINY = 1e-9
_LEAST_SHARE = 0.01  # of good answers, in the variance that chance explains
_HALF_AN_ANSWER = 0.5
_SHARPER = 1.2  # power of Chernoff's bound, which is never reached


@dataclass(frozen=True, slots=True)
class Curves:
    """All curves, one an entry of each array, with their prior; first `logistic` logistic ones, then the powers.

    `threshold` is the level where the curve crosses the wanted share, 0 where it is below at any level. `lapse` is the
    share that comes late at any load. `bunching` is the row of a table of how late answers come together in a trial, by
    a stall of the whole server or in a queue: the design effect is its first number plus the second times the root of
    the share that load makes late.
    """

    logistic: int
    threshold: Floats
    steepness: Floats
    position: Floats
    lapse: Floats
    bunching: NDArray[np.intp]
    prior: Floats

    def cells(self, level: int) -> Indices:
        """Where each curve stands at this level: an index into a table of SHARES (rows) by EFFECTS."""
        carried = self._carried(level)
        share = np.clip((1 - self.lapse) * carried, SHARES[0], SHARES[-1])
        effect = _BUNCHING[self.bunching, 0] + _BUNCHING[self.bunching, 1] * np.sqrt(1 - carried)
        row = np.rint((np.log(share / (1 - share)) - _LOGITS[0]) / (_LOGITS[1] - _LOGITS[0]))
        column = np.rint(np.log(effect) / np.log(EFFECTS[1]))
        found: Indices = (row * len(EFFECTS) + column).astype(np.int32)
        return found

    def _carried(self, level: int) -> Floats:
        """The share of answers that load does not make late."""
        first, rest = slice(self.logistic), slice(self.logistic, None)
        distance = np.clip(self.steepness[first] * (level - self.position[first]), -50, 50)
        power = np.minimum(1.0, self.position[rest] / level) ** self.steepness[rest]
        return np.concatenate([1 / (1 + np.exp(distance)), power])


@functools.lru_cache(maxsize=4)
def falling_curves(share: float, highest: int) -> Curves:
    """The curves that are considered where `share` (0 to 1) is wanted and levels go up to `highest`."""
    crossings, late = _crossings(highest), 1 - share
    lapses, hopeless = _LAPSES * late, np.minimum(_HOPELESS_LAPSES * late, _WORST_LAPSE)
    parts = [
        _logistic(share, _grid(crossings, _STEEPNESS, lapses, _KINDS)),
        _hopeless(_grid(crossings, _STEEPNESS[::5], hopeless, _KINDS)),
        _power(share, _grid(crossings, _POWERS, lapses, _KINDS)),
    ]
    sizes = [len(part[0]) for part in parts]
    weights = ((1 - _HOPELESS) / 2, _HOPELESS, (1 - _HOPELESS) / 2)
    threshold, steepness, position, lapse, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
    prior = np.repeat([weight / size for weight, size in zip(weights, sizes, strict=True)], sizes)
    prior[sizes[0] + sizes[1] :][parts[2][1] < _FLAT] *= _RARELY_FLAT
    prior /= prior.sum()
    return Curves(sizes[0] + sizes[1], threshold, steepness, position, lapse, kind.astype(np.intp), prior)


def _crossings(highest: int) -> Floats:
    end, start, parts = highest * _BEYOND + 1, 0.5, []
    for stop, step in _STEPS:
        parts.append(np.arange(start + step / 2, min(stop, end), step))
        start = stop
    rest = max(0, math.ceil(math.log(end / start) / math.log(_RATIO)))
    return np.concatenate([*parts, start * _RATIO ** (np.arange(rest) + 0.5)])


def _grid(*axes: Floats) -> list[Floats]:
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def _logistic(share: float, grid: list[Floats]) -> tuple[Floats, ...]:
    """(1 - lapse) / (1 + exp(steepness * (level - position))), which is `share` at the threshold."""
    threshold, fall, lapse, kind = grid
    position = threshold * (1 - np.log((1 - lapse) / share - 1) / fall)
    return threshold, fall / threshold, position, lapse, kind


def _hopeless(grid: list[Floats]) -> tuple[Floats, ...]:
    """Logistic ones whose lapses alone are more than the share that may come late."""
    position, fall, lapse, kind = grid
    return np.zeros_like(position), fall / position, position, lapse, kind


def _power(share: float, grid: list[Floats]) -> tuple[Floats, ...]:
    """(1 - lapse) * min(1, (position / level) ** steepness), which is `share` at the threshold."""
    threshold, power, lapse, kind = grid
    return threshold, power, threshold * (share / (1 - lapse)) ** (1 / power), lapse, kind


def isotonic(good: Sequence[float], total: Sequence[float]) -> list[float]:
    """The falling shares under which such counts are likeliest, level by level (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for one, count in zip(good, total, strict=True):
        blocks.append((one, count, 1))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] < blocks[-1][0] * blocks[-2][1]:
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    return [one / count for one, count, levels in blocks for _ in range(levels)]


def capacity_chances(trials: Sequence[Observation], share: float, highest: int, alike: float) -> Floats:
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
