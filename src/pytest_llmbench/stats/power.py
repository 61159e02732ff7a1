"""What the data at hand could have found, and what it would take to settle a question that is open."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_llmbench.stats.exact_power import least_found
from pytest_llmbench.stats.yes_or_no import EXACT_CASES

POWER = 0.8
"""The chance of finding an effect that is called findable."""
_MOST_CASES = 1_000_000
_MOST_EPOCHS = 1_000


@dataclass(frozen=True, slots=True)
class Spread:
    """How changes vary: the variance of units' means, and the part of it that repeating a case would shrink.

    `within` is the variance of one epoch around its case's mean, None where each case was asked once. `epochs` is the
    mean number of epochs of a case. Of yes-or-no scores `unit` is what a yes counts, `squares` the sum of the squared
    changes, and `answers` how many of one side a unit has; `once` says that each unit is one answer on both sides.
    """

    cases: int
    variance: float
    within: float | None
    epochs: float
    unit: float | None = None
    squares: float = 0.0
    answers: float = 1.0
    once: bool = False

    def churn(self, unit: float) -> float:
        """The mean squared change of a yes-or-no score, as if half an answer more had changed (Jeffreys)."""
        return (self.squares / unit**2 + 0.5 / self.answers) / (self.cases + 1)


def detectable_effect(spread: Spread, alpha: float, margin: float = 0.0) -> float | None:
    """The smallest effect, margin included, that a one-sided test finds with 80 % power.

    None where unknown, or for so few cases none. A fall of yes-or-no scores by D adds D to the share of cases that
    change, and so to the variance: it is not that of two equal fine-tunes. Of those that were asked once the power is
    that of the exact test.
    """
    if spread.cases < max(2, _least_cases(alpha)):  # one case has no variance
        return None
    if spread.unit is not None and spread.once and spread.cases <= EXACT_CASES:
        found = least_found(spread.cases, spread.churn(spread.unit), alpha, margin / spread.unit, POWER)
        return None if found is None else spread.unit * found
    quantiles = _quantiles(alpha, spread.cases - 1)
    if spread.unit is None:
        return margin + quantiles * math.sqrt(spread.variance / spread.cases) if spread.variance > 0 else None
    k, border = quantiles**2 / spread.cases, margin / spread.unit
    half = border + k / (2 * spread.answers)
    rest = (1 + k) * (border**2 - k * spread.churn(spread.unit))
    return spread.unit * min(1.0, (half + math.sqrt(half**2 - rest)) / (1 + k)) if half**2 >= rest else None


def cases_needed(spread: Spread, effect: float, alpha: float) -> int | None:
    """How many cases would show an effect of this size with 80 % power; None where a million would not."""
    variance = spread.variance
    if not variance > 0 or not effect:
        return None
    roughly = variance * (_quantiles(alpha, None) / effect) ** 2
    if roughly > _MOST_CASES:
        return None
    least = _least_cases(alpha)
    needed = variance * (_quantiles(alpha, max(least, roughly) - 1) / effect) ** 2
    return max(spread.cases + 1, least, math.ceil(needed))


def cases_to_see(effect: float, margin: float, scale: float, alpha: float) -> int | None:
    """How many cases must be looked at, that a loss of more than the margin in what was not seen is ruled out.

    None where a million would not do.
    """
    ratio = (scale - margin) / (scale + effect)
    if ratio >= 1:
        return None
    needed = math.log(alpha) / math.log(ratio) if ratio > 0 else 1.0
    return math.ceil(needed) if needed <= _MOST_CASES else None


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
    from scipy import special

    if freedom is None:
        return float(special.ndtri(1 - alpha) + special.ndtri(POWER))
    return float(special.stdtrit(freedom, 1 - alpha) + special.stdtrit(freedom, POWER))
