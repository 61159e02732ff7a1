"""Deciding with few answers whether a promise is surely held or surely broken, with stated error rates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

FEWEST_ANSWERS = 10
"""Nothing is decided on fewer: how alike the answers are is not known yet, and one stall may hold several up."""

_FEWEST_GROUPS = 3
_MOST_STEPS = 10_000
_PRECISION = 1e-12


def decision(good: float, bad: float, quantile: float, error_rate: float) -> Literal["held", "broken"] | None:
    """Whether the share of good answers is surely above (`held`) or below (`broken`) `quantile`; None if not sure.

    May be asked after each answer. The evidence against `share >= quantile` is the likelihood of the answers averaged
    over all shares below the quantile, over their likelihood at the quantile; it reaches 1/`error_rate` by chance with
    probability at most `error_rate`, however often one looks (Ville 1939; Robbins 1970; Howard et al. 2021). The
    evidence against `share <= quantile` likewise. For a quantile of 1 one bad answer breaks the promise, and no number
    of good ones proves it.
    """
    if error_rate <= 0:
        return None
    if quantile >= 1:
        return "broken" if bad else None
    below, above = _log_evidence(good, bad, quantile)
    enough = -math.log(error_rate)
    if below >= enough:
        return "broken"
    return "held" if above >= enough else None


def design_effect(answers: Sequence[bool], groups: Sequence[Hashable]) -> float:
    """How many answers count as one, because the answers of a group are alike; at least 1.

    The variance of the share of good answers when whole groups are drawn (ratio estimator, Cochran 1977, 6.3 and
    Kish's deff), over its variance if answers were drawn one by one.
    """
    totals, goods = defaultdict[Hashable, int](int), defaultdict[Hashable, int](int)
    for answer, group in zip(answers, groups, strict=True):
        totals[group] += 1
        goods[group] += answer
    count, good = len(answers), sum(answers)
    if len(totals) < _FEWEST_GROUPS or good in (0, count):
        return 1.0
    share = good / count
    spread = sum((goods[group] - share * total) ** 2 for group, total in totals.items())
    return max(1.0, spread * len(totals) / (len(totals) - 1) / (count * share * (1 - share)))


def _log_evidence(good: float, bad: float, quantile: float) -> tuple[float, float]:
    """Log of the evidence that the share of good answers is below, and above, the quantile."""
    plain = good * math.log(quantile) + bad * math.log1p(-quantile)
    weight = _log_beta(good + 1, bad + 1) - plain  # the prior over shares is flat, on each side of the quantile
    lower = log_beta_share(good + 1, bad + 1, quantile)
    upper = log_beta_share(bad + 1, good + 1, 1 - quantile)
    return weight + lower - math.log(quantile), weight + upper - math.log1p(-quantile)


def log_beta_share(a: float, b: float, x: float) -> float:
    """Log of the regularised incomplete beta function I_x(a, b), 0 < x < 1.

    By its continued fraction (DLMF 8.17.22), on the side where that converges quickly. SciPy has it too, but to load
    SciPy takes as much CPU time as hundreds of requests.
    """
    front = a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)
    if x < (a + 1) / (a + b + 2):
        return front + math.log(_beta_fraction(a, b, x) / a)
    rest = front + math.log(_beta_fraction(b, a, 1 - x) / b)
    return math.log(-math.expm1(rest)) if rest < 0 else -math.inf


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Evaluated forwards (modified Lentz, Thompson and Barnett 1986)."""
    above, below = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = below
    for step in range(1, _MOST_STEPS):
        twice = a + 2 * step
        for term in (
            step * (b - step) * x / ((twice - 1) * twice),
            -(a + step) * (a + b + step) * x / (twice * (twice + 1)),
        ):
            below, above = 1 / (1 + term * below), 1 + term / above
            value *= above * below
        if abs(above * below - 1) < _PRECISION:
            break
    return value


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
