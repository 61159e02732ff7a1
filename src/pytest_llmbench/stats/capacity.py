"""How many users a server holds: one falling curve fitted to all trials together.

Each trial says how many of its answers were good at its level. The posterior over the curves of `falling_curves` is
computed on their grid (Watson 2017, "QUEST+"), so nothing is iterated, nothing diverges, and the capacity comes with
its whole distribution. Answers of one trial are alike: late ones come together when a queue builds up, and one user's
answers share a history. Trials are therefore beta-binomial; how much wider than binomial is part of the fit.

No family of curves holds every server. The fit is believed only where the answers themselves, without any shape, speak
for what it calls held and broken; else the estimate is that of any falling curve (`capacity_chances`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llmbench.stats.binomial import binomial
from pytest_llmbench.stats.intervals import CONFIDENCE
from pytest_llmbench.stats.monotone_fit import EFFECTS, SHARES, capacity_chances, falling_curves
from pytest_llmbench.stats.observation import Observation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int32]

_LOOK = 24  # answers that the information of a level is counted for
_NOTHING = 1e-7  # curves this much less likely than the likeliest are left out of what follows
_SPOKEN_FOR = 0.75  # the confidence, whatever the shape, in each end of an interval that is believed
_CONTRADICTED = 0.1  # the confidence in the estimate below which answers contradict it: a one-sided test at 4 %
_CLOSE_TO_ONE = 0.9  # beyond this correlation within a trial its answers count as one


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The share of good answers at a level: its posterior mean and 95 % band."""

    level: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """The most users for which the share holds, and how sure that is.

    `users` is the posterior median, `low` and `high` hold it with 95 %. A value equal to the highest level means "that
    or more", 0 that not even one user is served well. `chances[n]` is the probability that the capacity is n; `lapse`
    the share of answers late at any load. `more` tells that `users` stands for that or more, `unbounded` that `high`
    does: see `up_to`. `by_shape` is False where answers did not speak for the curves: all but `lapse`
    and `curve` is then what any falling curve allows.
    """

    users: int
    low: int
    high: int
    chances: tuple[float, ...]
    lapse: float
    curve: tuple[CurvePoint, ...] = ()
    more: bool = False
    unbounded: bool = False
    by_shape: bool = True

    def up_to(self, tried: int) -> Capacity:
        """The same for people to read: without a number above the highest level that was tried.

        The curves go on beyond it, but what they say there rests on their shape alone. All that lies above is "that or
        more", and so is the highest level of all.
        """
        highest = len(self.chances) - 1
        last = min(tried, highest)
        return replace(
            self,
            users=min(self.users, last),
            low=min(self.low, last),
            high=min(self.high, last),
            chances=(*self.chances[:last], sum(self.chances[last:]), *[0.0] * (highest - last)),
            curve=tuple(point for point in self.curve if point.level <= last),
            more=self.more or self.users > last or self.users == highest,
            unbounded=self.unbounded or self.high > last or self.high == highest,
        )

    def at_most(self, limit: int) -> Capacity:
        """The same where it is known that no more than `limit` can be held."""
        if limit >= len(self.chances) - 1 or not sum(self.chances[limit + 1 :]):
            return self
        chances = (*self.chances[:limit], sum(self.chances[limit:]), *[0.0] * (len(self.chances) - 1 - limit))
        return self._of(chances, bounded=True)

    def perhaps(self, lowest: int, highest: int, chance: float) -> Capacity:
        """The same where with probability `chance` it is anything from `lowest` to `highest`."""
        first, last = min(lowest, self.users), min(max(highest, self.users), len(self.chances) - 1)
        chances = [(1 - chance) * one for one in self.chances]
        for step in range(first, last + 1):
            chances[step] += chance / (last - first + 1)
        return self._of(chances, bounded=False)

    def _of(self, chances: Sequence[float], *, bounded: bool) -> Capacity:
        low, users, high = _quantiles(np.array(chances), ((1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2))
        more, unbounded = self.more and users == self.users, self.unbounded and high == self.high
        return replace(
            self,
            users=users,
            low=low,
            high=high,
            chances=tuple(chances),
            more=more and not bounded,
            unbounded=unbounded and not bounded,
        )

    def chance_within(self, room: int) -> float:
        """The probability that the true capacity is at most `room` users away from the estimate."""
        return sum(self.chances[max(0, self.users - room) : self.users + room + 1])

    def chance_of(self, level: int) -> float:
        """The probability that `level` users are held."""
        return sum(self.chances[level:])


class CapacityFit:
    """The posterior after some trials: the estimate, the curve, and what a further trial at a level would tell.

    `share` is the wanted share of good answers (for the strict preset 0.5 of passing trials), `highest` the highest
    level that may be tried. A fit takes some 5 ms.
    """

    def __init__(self, observations: Sequence[Observation], share: float, highest: int) -> None:
        self._share, self._highest = share, highest
        weights = _posterior(observations, share, highest)
        self._curves = np.flatnonzero(weights > _NOTHING * weights.max())
        self._weights = weights[self._curves] / weights[self._curves].sum()
        self._capacities = _capacities(share, highest)[self._curves]
        self._chances = _masses(self._capacities, self._weights, highest + 1)
        self._observations = observations

    def capacity(self, levels: Iterable[int] = ()) -> Capacity:
        """The estimate, with the curve at `levels`."""
        seen = self.by_shape() if self.believed else self._free
        curve = tuple(self._point(level) for level in levels)
        return replace(seen, curve=curve, by_shape=self.believed)

    @functools.cached_property
    def believed(self) -> bool:
        """Whether the answers speak for the interval of the fit, and none against its estimate, whatever the shape."""
        seen, free = self.by_shape(), self._free
        least = min(free.chance_of(seen.users), 1 - free.chance_of(seen.users + 1))
        ends = min(free.chance_of(seen.low), 1 - free.chance_of(seen.high + 1))
        return ends >= _SPOKEN_FOR and least >= _CONTRADICTED

    @functools.cached_property
    def _free(self) -> Capacity:
        alike = likeness(self._observations)
        return self._capacity(capacity_chances(self._observations, self._share, self._highest, alike))

    def by_shape(self) -> Capacity:
        """The estimate if the shape of the curves is right: sharper, and what tells where to look next."""
        return self._capacity(self._chances)

    def _capacity(self, chances: Floats) -> Capacity:
        low, users, high = _quantiles(chances, ((1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2))
        lapse = float(self._weights @ falling_curves(self._share, self._highest).lapse[self._curves])
        return Capacity(users, low, high, tuple(chances.tolist()), lapse)

    def information(self, level: int) -> float:
        """Bits about the capacity that one more answer at this level is expected to give (Lindley 1956)."""
        cells = _cells(self._share, self._highest, level)[self._curves]
        places = self._capacities * len(SHARES) + cells // len(EFFECTS)
        joint = _masses(places, self._weights, (self._highest + 1) * len(SHARES))
        outcomes = joint.reshape(self._highest + 1, len(SHARES)) @ _looks()
        effect = float(self._weights @ EFFECTS[cells % len(EFFECTS)])
        return (_entropy(outcomes.sum(axis=0)) + _entropy(self._chances) - _entropy(outcomes)) / _LOOK / effect

    def _point(self, level: int) -> CurvePoint:
        rows = _cells(self._share, self._highest, level)[self._curves] // len(EFFECTS)
        mass = _masses(rows, self._weights, len(SHARES))
        low, high = _quantiles(mass, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
        return CurvePoint(level, float(mass @ SHARES), float(SHARES[low]), float(SHARES[high]))


def _posterior(observations: Sequence[Observation], share: float, highest: int) -> Floats:
    curves = falling_curves(share, highest)
    logarithms = np.log(curves.prior)
    alike = likeness(observations)
    for level in sorted({seen.level for seen in observations}):
        table = sum(_likelihood(seen.good, seen.total) for seen in observations if seen.level == level)
        logarithms += _widened(np.asarray(table), alike).ravel()[_cells(share, highest, level)]
    weights = np.exp(logarithms - logarithms.max())
    return weights / weights.sum()  # type: ignore[no-any-return]


def likeness(observations: Sequence[Observation]) -> float:
    """The design effect of users: how much more their counts of good answers vary than chance has it, at least 1.

    Pearson's statistic of users within trials over its degrees of freedom, less one standard error: few users vary
    more than chance by chance.
    """
    statistic, freedom = 0.0, 0
    for seen in observations:
        share = seen.good / seen.total
        if len(seen.groups) > 1 and 0 < share < 1:
            statistic += sum((good - total * share) ** 2 / total for good, total in seen.groups) / share / (1 - share)
            freedom += len(seen.groups) - 1
    return max(1.0, statistic / freedom * (1 - (2 / freedom) ** 0.5)) if freedom else 1.0


@functools.lru_cache(maxsize=512)
def _likelihood(good: int, total: int) -> Floats:
    """(shares, effects) log probability of so many good answers; beta-binomial of that design effect."""
    from scipy.special import gammaln

    alike = np.minimum((EFFECTS[1:] - 1) / max(1, total - 1), _CLOSE_TO_ONE)
    both = 1 / alike - 1
    first, second = SHARES[:, None] * both, (1 - SHARES[:, None]) * both
    wide = gammaln(good + first) - gammaln(first) + gammaln(total - good + second) - gammaln(second)
    wide += gammaln(both) - gammaln(total + both)
    independent = good * np.log(SHARES) + (total - good) * np.log1p(-SHARES)
    return np.column_stack([independent, wide])


def _widened(table: Floats, alike: float) -> Floats:
    """The table with every design effect multiplied by `alike`."""
    steps = round(float(np.log(alike) / np.log(EFFECTS[1])))
    return table[:, np.minimum(np.arange(len(EFFECTS)) + steps, len(EFFECTS) - 1)]


@functools.lru_cache(maxsize=64)
def _cells(share: float, highest: int, level: int) -> Indices:
    return falling_curves(share, highest).cells(level)


@functools.lru_cache(maxsize=4)
def _capacities(share: float, highest: int) -> NDArray[np.int64]:
    """The capacity of each curve: the last level at which it holds the share."""
    held = np.floor(falling_curves(share, highest).threshold + 1e-9).astype(np.int64)
    return np.minimum(held, highest)


@functools.lru_cache(maxsize=1)
def _looks() -> Floats:
    """(shares, 0 to _LOOK good answers) their probability."""
    return binomial(_LOOK, SHARES[:, None])


def _masses(places: NDArray[np.signedinteger[Any]], weights: Floats, size: int) -> Floats:
    """(size,) the weight at each place."""
    return np.bincount(places, weights, size).astype(np.float64, copy=False)


def _entropy(chances: Floats) -> float:
    some = chances[chances > 0]
    return -float(some @ np.log2(some))


def _quantiles(mass: Floats, wanted: Sequence[float]) -> tuple[int, ...]:
    cumulated = np.cumsum(mass)
    return tuple(min(int(np.searchsorted(cumulated, one)), len(mass) - 1) for one in wanted)
