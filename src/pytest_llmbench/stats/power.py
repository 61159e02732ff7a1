"""What the data at hand could have found, and what it would take to settle a question that is open."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pytest_llmbench.stats.mcnemar import mcnemar_least, mcnemar_power
from pytest_llmbench.stats.tango import tails, tango_least
from pytest_llmbench.stats.yes_or_no import EXACT_CASES

POWER = 0.8
"""The chance of finding an effect that is called findable."""
_MOST_CASES = 1_000_000
_MOST_EPOCHS = 1_000

_ENDS = 1e-4  # of a whole: how closely the change is known

Kind = Literal["regression", "improvement", "compare"]


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


def exact_power(cases: int, churn: float, change: float, level: float, null: float = 0.0) -> float:
    """The chance that "the mean change is above `null`" is shown, where a share of so many changes in any case.

    Half of the churn gets better and half worse, and the change comes on top of it.
    """
    worse = min(churn, 1 - change) / 2
    if null == 0:
        return mcnemar_power(mcnemar_least(cases, level), worse + change, worse)
    return float(tails(tango_least(cases, null, level), cases, change, np.array([worse]))[0])


@functools.lru_cache(maxsize=4096)
def least_found(cases: int, churn: float, level: float, null: float, wanted: float) -> float | None:
    """The smallest mean change beyond `null` that is shown with this power; None where the greatest is not."""
    low, high = null, 1.0
    if exact_power(cases, churn, high, level, null) < wanted:
        return None
    while high - low > _ENDS:
        middle = (low + high) / 2
        low, high = (low, middle) if exact_power(cases, churn, middle, level, null) >= wanted else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """What is open: the kind of gate, its border, its whole alpha, and the hypothesis's own share of it.

    `scale` is the most that a score can change, None where that is unknown.
    """

    kind: Kind
    margin: float
    alpha: float
    level: float
    scale: float | None


def needed_cases(spread: Spread, question: OpenQuestion, effect: float) -> int | None:
    """How many cases would settle it four times in five, were this the effect; None where a million would not.

    Where nothing changed and no margin is set, no number does: nothing shows that a thing is exactly nothing.
    """
    distance, level = _to_show(question, effect)
    if spread.unit is not None and (effect or spread.squares):
        share = abs(effect) / spread.unit
        variance = spread.unit**2 * (max(spread.churn(spread.unit), share / spread.answers) - share**2)
        spread = replace(spread, variance=max(variance, spread.variance if spread.variance > 0 else 0.0))
    found = cases_needed(spread, distance, level)
    seen = _cases_to_see(question, effect)
    if seen == 0:
        return found
    if seen is None or (found is None and spread.variance > 0):
        return None
    return max(spread.cases + 1, seen, found or 0)


def range_to_settle(
    spread: Spread, question: OpenQuestion, effect: float, ends: tuple[float, float] | None
) -> tuple[int, int | None] | None:
    """The least and the most cases that would settle it, over effects from one end of the interval to the other.

    The most is None where an effect as plausible as others cannot be told from the border: the hardest of them lies
    nearest to it, and seldom at an end.
    """
    if ends is None:
        return None
    low, high = ends
    border = -question.margin if question.kind == "regression" else 0.0
    found = [needed_cases(spread, question, at) for at in (effect, low, high, min(max(border, low), high))]
    known = [cases for cases in found if cases is not None]
    if not known or found[0] is None:
        return None
    return min(known), None if None in found else max(known)


def needed_epochs(spread: Spread, question: OpenQuestion, effect: float) -> int | None:
    """How many epochs of the same cases would settle it, were this the effect; None where only more cases could."""
    seen = _cases_to_see(question, effect)
    if seen is None or seen > spread.cases:  # a case asked again tells nothing of those that were not met with
        return None
    return epochs_needed(spread, *_to_show(question, effect))


def _cases_to_see(question: OpenQuestion, effect: float) -> int | None:
    """`cases_to_see` where a pass also asks that; 0 where it does not."""
    if question.kind != "regression" or not question.margin or question.scale is None or effect <= -question.margin:
        return 0
    return cases_to_see(effect, question.margin, question.scale, question.alpha)


def _to_show(question: OpenQuestion, effect: float) -> tuple[float, float]:
    """How far an effect lies beyond the border that more data would show it to have crossed, and the level for that.

    0 where there is none: within the margin of an improvement gate, more data shows neither better nor worse.
    """
    if question.kind == "regression":
        beyond = effect + question.margin
        return abs(beyond), question.alpha if beyond > 0 else question.level
    return max(0.0, math.fabs(effect) - question.margin), question.level
