"""The interval of a mean paired difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONFIDENCE = 0.95
INTERVAL_METHOD = "t interval, widened for skewness"

_MOST_WIDENING = 0.5  # of the t interval's width: with two or three cases that moved, skewness is guesswork
_SYMMETRIC = 1e-9
_ROUNDING = 1e-12


def mean_interval(differences: Floats, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Where the mean difference of all such cases lies; None for one case, or where all differ alike.

    Student's interval, and where Hall's transformation of it, which takes the skewness out (Hall 1992, "On the removal
    of skewness by transformation"), reaches further, that end. It is as good as a studentized bootstrap on gains that
    few cases have, does not break down on yes-or-no scores with few changes as that does, and costs nothing:
    `benchmarks/verdicts.py` measures its coverage.
    """
    from scipy import special

    found = moments(differences)
    if found is None:
        return None
    quantile = float(special.stdtrit(len(differences) - 1, (1 + confidence) / 2))
    most = quantile * (1 + 2 * _MOST_WIDENING)
    below = min(most, max(quantile, _unbent(quantile, found.bend)))
    above = min(most, max(quantile, -_unbent(-quantile, found.bend)))
    return found.mean - below * found.error, found.mean + above * found.error


class Moments(NamedTuple):
    """The mean, its standard error, and the skewness over the square root of the number of cases."""

    mean: float
    error: float
    bend: float


def moments(differences: Floats) -> Moments | None:
    """The moments that a studentized mean needs; None for one case, or where all differ alike."""
    cases = len(differences)
    deviation = float(differences.std(ddof=1)) if cases > 1 else 0.0
    if cases < 2 or deviation <= _ROUNDING * np.abs(differences).max():  # noqa: PLR2004  # one has no deviation
        return None
    mean = float(differences.mean())
    bend = float((((differences - mean) / deviation) ** 3).mean()) / cases**0.5
    return Moments(mean, deviation / cases**0.5, bend)


def bent(studentized: float, bend: float) -> float:
    """Hall's transformation: a studentized mean with the skewness taken out."""
    return studentized + bend * studentized**2 / 3 + bend**2 * studentized**3 / 27 + bend / 6


def _unbent(quantile: float, bend: float) -> float:
    """The inverse of `bent`."""
    if abs(bend) < _SYMMETRIC:
        return quantile
    return 3 / bend * float(np.cbrt(1 + bend * (quantile - bend / 6)) - 1)
