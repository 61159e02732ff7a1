"""Exact tests and intervals of paired yes-or-no scores: so many cases got better, so many worse, of so many.

The share that differs is a nuisance: p-values are the greatest over all it may be, so that no assumption about it, and
no large number of cases, is needed. At a margin they are Tango's (`stats.tango`), without one they
are McNemar's (`stats.mcnemar`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pytest_llmbench.stats.binomial import at_least
from pytest_llmbench.stats.mcnemar import mcnemar_p
from pytest_llmbench.stats.tango import tango_p, tango_score
from pytest_llmbench.stats.unseen import p_unseen, seen_end

EXACT_CASES = 500
"""Up to so many cases every outcome is looked at; with more, normal and exact p-values come to the same."""
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


def p_of_counts(counts: Counts, null: float = 0.0) -> float:
    """The p-value of "the mean change is at most `null`", which is between -1 and 1, against "it is above"."""
    if null >= 1:
        return 1.0
    if null <= -1:
        return 1.0 if counts.worse == counts.cases else 0.0
    if counts.cases > EXACT_CASES:
        return _of_many(counts, null)
    return mcnemar_p(*counts) if null == 0 else tango_p(*counts, null)


def end_below(counts: Counts, level: float, border: float) -> float:
    """The lower end of a one-sided interval: what is below it, `p_above` rejects at this level.

    It lies above `border` if, and only if, `border` itself is rejected: a verdict and its interval agree.
    """
    effect = counts.effect
    low, high = -1.0, effect
    if counts.cases > EXACT_CASES:
        low = _end_of_many(counts, level)
        if -1 < border < effect:  # no change is judged by another statistic
            low = max(low, float(np.nextafter(border, 1))) if p_of_counts(counts, border) <= level else min(low, border)
        return low
    if -1 < border < effect:
        low, high = (border, effect) if p_of_counts(counts, border) <= level else (-1.0, border)
    if low == -1 and counts.worse == counts.cases:
        return -1.0
    return _crossing(counts, level, low, high)


def _crossing(counts: Counts, level: float, low: float, high: float) -> float:
    """Where the p-value rises to the level, between a rejected `low` and a `high` that is not."""
    guess = _score_end(counts, level)
    for near in (guess - 0.004, guess + 0.004, guess - 0.03):
        if low < near < high:
            low, high = (near, high) if p_of_counts(counts, near) <= level else (low, near)
    while high - low > _ENDS:
        middle = (low + high) / 2
        low, high = (middle, high) if p_of_counts(counts, middle) <= level else (low, middle)
    return (low + high) / 2


def _score_end(counts: Counts, level: float) -> float:
    """The end of Tango's interval, which takes the score statistic for normal."""
    from scipy import special

    quantile, low, high = float(special.ndtri(1 - level)), -1.0, counts.effect
    while high - low > _SCORE_ENDS:
        middle = (low + high) / 2
        low, high = (middle, high) if float(tango_score(*counts, middle)) > quantile else (low, middle)
    return (low + high) / 2


def _of_many(counts: Counts, null: float) -> float:
    from scipy import special

    if null == 0:
        moved = counts.better + counts.worse
        return float(at_least(counts.better, moved, 0.5))
    normal = float(special.ndtr(-tango_score(*counts, null)))
    return max(normal, p_unseen(counts.effect, counts.cases, null)) if null < 0 else normal


def _end_of_many(counts: Counts, level: float) -> float:
    """The end at which `_of_many` comes to the level."""
    low, seen = _score_end(counts, level), seen_end(counts.effect, counts.cases, level)
    return min(low, seen) if seen < 0 else low
