"""Deciding with few answers whether a promise is surely held or surely broken, with stated error rates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

from scipy.special import betainc, betaln  # not later: loading it in mid-trial would hold the event loop up

FEWEST_ANSWERS = 10
"""Nothing is decided on fewer: how alike the answers are is not known yet, and one stall may hold several up."""

_FEWEST_GROUPS = 3


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
    weight = betaln(good + 1, bad + 1) - plain  # the prior over shares is flat, on each side of the quantile
    lower = betainc(good + 1, bad + 1, quantile)
    upper = betainc(bad + 1, good + 1, 1 - quantile)
    return weight + _log(lower) - math.log(quantile), weight + _log(upper) - math.log1p(-quantile)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
