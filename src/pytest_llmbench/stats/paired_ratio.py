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

    Student's interval of the mean of the differences of logarithms, which holds by itself. Few pairs may agree by
    chance, so it is never narrower than the normal interval of the pairs' own uncertainty, which is known and not
    estimated from them. (Röver, Knapp and Friede, BMC Med Res Methodol 15:99, have Student's quantile for both.)

    Raises:
        ValueError: fewer than two pairs.
    """
    if len(pairs) < 2:  # noqa: PLR2004  # one has no deviation
        raise ValueError("an interval needs two pairs at least")
    from scipy import special

    differences = np.array([_log(after) - _log(before) for before, after in pairs])
    own = math.sqrt(float(np.mean([_relative(before) ** 2 + _relative(after) ** 2 for before, after in pairs])))
    upper = (1 + confidence) / 2
    scattered = float(special.stdtrit(len(pairs) - 1, upper)) * float(differences.std(ddof=1))
    reach = max(scattered, float(special.ndtri(upper)) * own) / math.sqrt(len(pairs))
    mean = float(differences.mean())
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))


def _log(one: Measurement) -> float:
    return math.log(max(one.mean, _LEAST))


def _relative(one: Measurement) -> float:
    return one.deviation / max(one.mean, _LEAST)
