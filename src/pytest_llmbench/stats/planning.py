"""What the data at hand could have found, and what it would take to settle a question that is open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POWER = 0.8
"""The chance of finding an effect that is called findable."""
_MOST_CASES = 1_000_000
_MOST_EPOCHS = 1_000


@dataclass(frozen=True, slots=True)
class Spread:
    """How differences vary: the variance of case means, and the part of it that repeating a case would shrink.

    `within` is the variance of one epoch around its case's mean, None where each case was asked once. `epochs` is the
    mean number of epochs of a case.
    """

    cases: int
    variance: float
    within: float | None
    epochs: float


def spread(differences: Floats, cases: NDArray[np.int64]) -> Spread:
    """The spread of differences, one an answer, whose `cases` says to which case (0, 1, …) each belongs."""
    counts = np.bincount(cases)
    means = np.bincount(cases, differences) / counts
    variance = float(means.var(ddof=1)) if len(means) > 1 else math.nan
    freedom = len(differences) - len(means)
    within = float(((differences - means[cases]) ** 2).sum() / freedom) if freedom else None
    return Spread(len(means), variance, within, len(differences) / len(means))


def detectable_effect(spread: Spread, alpha: float) -> float | None:
    """The smallest effect that a one-sided test finds with 80 % power; None where unknown, or for so few cases none."""
    if spread.cases < max(2, _least_cases(alpha)) or not spread.variance > 0:  # one case has no variance
        return None
    return _quantiles(alpha, spread.cases - 1) * math.sqrt(spread.variance / spread.cases)


def cases_needed(spread: Spread, effect: float, alpha: float) -> int | None:
    """How many cases would show an effect of this size with 80 % power; None where a million would not."""
    if not spread.variance > 0 or not effect:
        return None
    roughly = spread.variance * (_quantiles(alpha, None) / effect) ** 2
    if roughly > _MOST_CASES:
        return None
    least = _least_cases(alpha)
    needed = spread.variance * (_quantiles(alpha, max(least, roughly) - 1) / effect) ** 2
    return max(spread.cases + 1, least, math.ceil(needed))


def epochs_needed(spread: Spread, effect: float, alpha: float) -> int | None:
    """How many epochs of the same cases would show it; None where unknown, or where cases are too few or too unlike."""
    if not spread.within or not effect or not spread.variance > 0 or spread.cases < _least_cases(alpha):
        return None
    between = max(0.0, spread.variance - spread.within / spread.epochs)
    room = spread.cases * (effect / _quantiles(alpha, spread.cases - 1)) ** 2 - between
    needed = spread.within / room if room > 0 else math.inf
    return max(math.floor(spread.epochs) + 1, math.ceil(needed)) if needed <= _MOST_EPOCHS else None


def _least_cases(alpha: float) -> int:
    """Fewer cases than this cannot have a p-value of alpha, whatever they score: sign flips have too few patterns."""
    return math.ceil(-math.log2(alpha))


def _quantiles(alpha: float, freedom: float | None) -> float:
    """The sum of the quantiles of level and power, of Student's t where the freedom is known."""
    from scipy import stats

    law = stats.norm if freedom is None else stats.t(freedom)
    return float(law.ppf(1 - alpha) + law.ppf(POWER))
