"""By which factor one of two things that were measured in turns is more than the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pytest_llmbench.stats.intervals import CONFIDENCE

_LEAST = 0.5  # what stands for nothing, whose logarithm there is not


class Measurement(NamedTuple):
    """A measurement: its mean, and the standard deviation of what is probable."""

    mean: float
    deviation: float


class Ratio(NamedTuple):
    """The factor, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def paired_ratio(pairs: Sequence[tuple[Measurement, Measurement]], confidence: float = CONFIDENCE) -> Ratio:
    """The factor from the first to the second of each pair, which were measured one right after the other.

    Student's interval of the mean of the differences of logarithms. Where the pairs differ less than their own
    uncertainty says, as few pairs may by chance, that uncertainty stands in for their variance.

    Raises:
        ValueError: fewer than two pairs.
    """
    if len(pairs) < 2:  # noqa: PLR2004  # one has no deviation
        raise ValueError("an interval needs two pairs at least")
    from scipy import special

    differences = np.array([_log(after) - _log(before) for before, after in pairs])
    own = float(np.mean([_relative(before) ** 2 + _relative(after) ** 2 for before, after in pairs]))
    variance = max(float(differences.var(ddof=1)), own)
    quantile = float(special.stdtrit(len(pairs) - 1, (1 + confidence) / 2))
    mean, reach = float(differences.mean()), quantile * math.sqrt(variance / len(pairs))
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))


def _log(one: Measurement) -> float:
    return math.log(max(one.mean, _LEAST))


def _relative(one: Measurement) -> float:
    return one.deviation / max(one.mean, _LEAST)
