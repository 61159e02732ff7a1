"""The chance of a sum as great as was seen where each unit's change may as well have been another of its law.

A law is what one unit's change can be where nothing changed: either sign of what it was, or, where a case was asked
more often on one side, every way to deal its answers to the two sides.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 9_999
_FEW_DRAWS = 999  # where less than the middle was seen: nothing is shown by that
_ENUMERATED = 14  # 2**14 patterns take less time than the random ones
_DEALS = 1_000  # ways of dealing that are listed; of more, as many are drawn
_SEED = 20_250_101  # the same data gives the same p-value
_TINY = 1e-12  # of the greatest: the rest is rounding
_STEPS = 120  # of the widest law, at most, on a lattice
_OFF_LATTICE = 1e-5  # of the widest law, a step: scores have six digits
_ROUNDED = 0.1  # of a step: what six digits of many scores sum up to
_LEAST_UNITS_ON_LATTICE = 5
_CERTAIN = 1e-6
_HALVINGS = 12  # near the right lean is as good
_DOUBLINGS = 60


class Laws(NamedTuple):
    """(units, values) what each unit's change may be, ascending, and how likely; rows are filled up with chance 0."""

    values: Floats
    chances: Floats

    def mirrored(self) -> Laws:
        """Those of the negative changes."""
        return Laws(-self.values[:, ::-1], self.chances[:, ::-1])


class Tail(NamedTuple):
    """The chance of a sum at least as great, and how it was found."""

    p_value: float
    method: str


def either_sign(changes: Floats) -> Laws:
    """Each change with the one sign or the other."""
    sizes = np.abs(changes)
    return Laws(np.stack([-sizes, sizes], axis=1), np.full((len(sizes), 2), 0.5))


def dealt_anew(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """What the change of means would be, and how likely, if a case's answers were dealt to both sides at random."""
    answers = np.concatenate([before, after])
    if math.comb(len(answers), len(after)) <= _DEALS:
        chosen = np.array(list(itertools.combinations(answers.tolist(), len(after))))
        sums = chosen.sum(axis=1)
    else:
        draws = np.random.default_rng(_SEED)
        sums = draws.permuted(np.tile(answers, (_DEALS, 1)), axis=1)[:, : len(after)].sum(axis=1)
    changes = sums / len(after) - (answers.sum() - sums) / len(before)
    values, counts = np.unique(np.round(changes, 9), return_counts=True)
    return values, counts / counts.sum()


def tail(laws: Laws, seen: float, units: int) -> Tail:
    """The chance of a sum of at least `seen`, where so many of all `units` can move.

    On a lattice, as shares of a few keywords are, where at least five units can move, it is exact. It then counts half
    of the sums that tie ("mid-p", Lancaster 1961) if how many move is a matter of chance, with a standard deviation of
    at least one: that evens out what half a tie errs with some numbers. Where all move always, nothing would. Off a
    lattice patterns of up to 14 signs are all looked at, others are drawn.
    """
    half_ties = len(laws.values) * (units - len(laws.values)) >= units
    order = np.lexsort((*laws.values.T, *laws.chances.T))  # the order of cases is no matter
    laws = Laws(laws.values[order], laws.chances[order])
    steps = _steps(laws)
    if steps is not None and len(laws.values) >= _LEAST_UNITS_ON_LATTICE:
        found = _on_lattice(laws, *steps, seen, 0.5 if half_ties else 1.0)
        return Tail(found, "permutation test, exact, mid-p" if half_ties else "permutation test, exact")
    if laws.values.shape[1] == 2 and len(laws.values) <= _ENUMERATED:  # noqa: PLR2004  # either sign
        return Tail(_all_signs(laws.values[:, 1], seen), "sign-flip test, exact")
    draws = DRAWS if seen > float((laws.values * laws.chances).sum()) else _FEW_DRAWS
    return Tail(_drawn(laws, seen, draws), f"permutation test, {draws:,} random patterns")


def _all_signs(sizes: Floats, seen: float) -> float:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return float((sums >= seen - _TINY * float(sizes.sum())).mean())


def _steps(laws: Laws) -> tuple[NDArray[np.int64], float] | None:
    """How many steps of a lattice each value is above its unit's least, and a step's size; None where there is none."""
    above = laws.values - laws.values[:, :1]
    above[laws.chances == 0] = 0
    distinct = np.unique(np.round(above / above.max(), 7))
    parts = np.arange(1, _STEPS + 1)
    for start in (8, len(distinct)):  # most that are none show it soon
        off = np.abs(distinct[:start, None] * parts - np.round(distinct[:start, None] * parts))
        parts = parts[(off <= _OFF_LATTICE * parts).all(axis=0)]
        if not len(parts):
            return None
    size = above.max() / parts[0]
    return np.round(above / size).astype(np.int64), float(size)


def _on_lattice(laws: Laws, steps: NDArray[np.int64], size: float, seen: float, of_ties: float) -> float:
    """The exact distribution of the sum, tilted to have its middle at what was seen: far tails keep their digits."""
    laws = Laws(laws.values[:, :1] + steps * size, laws.chances)  # without what six digits round
    least = float(laws.values[:, 0].sum())
    sought = (seen - least) / size
    lean = _lean(laws, seen)
    tilted = _tilted(laws, lean)
    length = int(steps.max(axis=1).sum()) + 1
    transform = np.ones(length // 2 + 1, dtype=complex)
    _, first, counts = np.unique(
        np.concatenate([steps.astype(float), tilted.chances], axis=1), axis=0, return_index=True, return_counts=True
    )
    for line, count in zip(first.tolist(), counts.tolist(), strict=True):
        chances = np.bincount(steps[line], tilted.chances[line], length)
        transform *= np.fft.rfft(chances, length) ** count
    sums = np.maximum(np.fft.irfft(transform, length), 0)
    places = np.arange(length)
    weights = np.exp(np.minimum(_log_weight(laws, lean) - lean * (least + places * size), 700))
    place = min(
        max(math.ceil(sought - _ROUNDED), 0), length - 1
    )  # what was seen, at a margin, may lie beyond either end
    as_great = (sums * weights)[place:]
    tied = as_great[0] if abs(place - sought) <= _ROUNDED else 0.0
    return float(min(1.0, as_great.sum() - (1 - of_ties) * tied))


def _drawn(laws: Laws, seen: float, count: int = DRAWS) -> float:
    """Patterns are drawn near the one that was seen, each weighed by how much likelier that made it (Harrison 2012).

    So a p-value of one in a million is known as well as one of 0.05: Holm's correction over many categories asks for
    such. The pattern that was seen counts as one of those drawn.
    """
    lean = _lean(laws, seen)
    chances = _tilted(laws, lean).chances
    draws = np.random.default_rng(_SEED)
    uniform = draws.random((count, len(laws.values)))
    if laws.values.shape[1] == 2:  # noqa: PLR2004  # either sign: nine thousand sums are one product
        sizes = laws.values[:, 1]
        sums = 2 * ((uniform < chances[:, 1]) @ sizes) - sizes.sum()
    else:
        sums = np.zeros(count)
        for line, (values, bounds) in enumerate(zip(laws.values, chances.cumsum(axis=1), strict=True)):
            sums += values[np.minimum(bounds.searchsorted(uniform[:, line] * bounds[-1]), len(values) - 1)]
    slack = _TINY * float(np.abs(laws.values).max(axis=1).sum())
    extreme = np.append(sums[sums >= seen - slack], seen)
    log_weights = _log_weight(laws, lean) - lean * extreme
    return float(np.exp(np.minimum(log_weights, 0)).sum()) / (1 + count)


def _lean(laws: Laws, seen: float) -> float:
    """How strongly values lean to the great ones, for sums of `seen` on average: an exponent, 0 for no lean."""
    greatest = float(np.where(laws.chances > 0, laws.values, -np.inf).max(axis=1).sum())
    middle = float((laws.values * laws.chances).sum())
    aim = middle + min(seen - middle, (1 - _CERTAIN) * (greatest - middle))  # none makes every one the greatest
    largest = float(np.abs(laws.values).max())
    if aim <= middle or largest < np.finfo(float).tiny:  # one over it is more than a float holds
        return 0.0
    low, high = 0.0, 1 / largest
    for _ in range(_DOUBLINGS):
        if _mean(laws, high) >= aim:
            break
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        half = (low + high) / 2
        low, high = (half, high) if _mean(laws, half) < aim else (low, half)
    return low


def _mean(laws: Laws, lean: float) -> float:
    return float((laws.values * _tilted(laws, lean).chances).sum())


def _tilted(laws: Laws, lean: float) -> Laws:
    top = np.where(laws.chances > 0, laws.values, -np.inf).max(axis=1, keepdims=True)
    weighed = laws.chances * np.exp(np.minimum(lean * (laws.values - top), 0))
    return Laws(laws.values, weighed / weighed.sum(axis=1, keepdims=True))


def _log_weight(laws: Laws, lean: float) -> float:
    """The logarithm of the tilted patterns' normalisation."""
    top = np.where(laws.chances > 0, laws.values, -np.inf).max(axis=1)
    weighed = laws.chances * np.exp(np.minimum(lean * (laws.values - top[:, None]), 0))
    return float((lean * top + np.log(weighed.sum(axis=1))).sum())
