"""An interval that holds at every look: how far many runs are from one fixed baseline, however often that is asked.

Scores lie between 0 and 1. Each case has an expected score, the baseline's one too; nothing is assumed of how they are
spread, nor that cases are alike. For a sum of scores, each less its expectation, and any guesses made beforehand,

    exp(l S - psi(l) V),  S the sum, V the sum of squares of score less guess,  psi(l) = -log(1 - l) - l,

is a supermartingale (Howard et al. 2021, theorem 4, after Fan et al. 2015), and so is its mixture over l. By Ville's
inequality the mixture exceeds 1 / error at any time with chance `error` at most. Guesses decide the width alone: those
of a run are the means of what each case scored before, those of the baseline the first run's scores.

S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon (2021), "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 49, 1055-1080. I. Waudby-Smith, A. Ramdas (2024), "Estimating means of bounded random
variables by betting", Journal of the Royal Statistical Society B 86, 1-27.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_EXPECTED = 0.15  # the variance of an answer for which the bounds are made narrowest: of 0.8 chances in a yes-or-no
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Drift:
    """The mean of all answers since the baseline less the baseline's, after so many runs, and its bounds.

    Either bound holds at every look with the confidence that was asked for.
    """

    runs: int
    effect: float
    low: float
    high: float


def drifts(baseline: Floats, runs: Iterable[Floats], error: float = 0.05) -> Iterator[Drift]:
    """The drift after each of the runs.

    Args:
        baseline: (cases, epochs) scores between 0 and 1.
        runs: (cases, epochs) scores of the same cases, in the order they were made.
        error: the chance that the lower bound is ever too high, and likewise that the upper one is ever too low.

    Raises:
        ValueError: a score is missing or not between 0 and 1, or the cases differ in number.
    """
    sums = DriftSums(baseline)
    for run in runs:
        sums.add(run)
    yield from sums.drifts(error)


class DriftSums:
    """What drifts are told from: sums of the runs so far, so that their scores need not be kept.

    Args:
        baseline: as for `drifts`, which raises what is raised here.
    """

    def __init__(self, baseline: Floats) -> None:
        self._cases = len(_checked(baseline, len(baseline)))
        self._size, self._mean = baseline.size, float(baseline.mean())
        self._baseline = baseline
        self._total, self._known = baseline.sum(axis=1), baseline.shape[1]
        self._spread = 0.0
        self._seen: list[tuple[int, float, float]] = []

    def add(self, run: Floats) -> None:
        """Take in the next run's scores."""
        _checked(run, self._cases)
        answers, scored, intrinsic = self._seen[-1] if self._seen else (0, 0.0, 0.0)
        if not self._seen:
            self._spread = _intrinsic(self._baseline, run.sum(axis=1), run.shape[1])
        intrinsic += _intrinsic(run, self._total, self._known)
        self._total, self._known = self._total + run.sum(axis=1), self._known + run.shape[1]
        self._seen.append((answers + run.size, scored + float(run.sum()), intrinsic))

    def drifts(self, error: float) -> Iterator[Drift]:
        """The drift after each of the runs, for this chance of an error on either side."""
        expected = _EXPECTED * self._size
        apart = _radius(self._spread, error / 2, expected) / self._size
        for count, (answers, scored, intrinsic) in enumerate(self._seen, start=1):
            width = apart + _radius(intrinsic, error / 2, expected) / answers
            effect = scored / answers - self._mean
            yield Drift(count, effect, max(-1.0, effect - width), min(1.0, effect + width))


def _checked(scores: Floats, cases: int) -> Floats:
    if scores.shape[0] != cases or not scores.size:
        raise ValueError("every run needs the cases of the baseline")
    if not ((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)).all():
        raise ValueError("scores must lie between 0 and 1")
    return scores


def _intrinsic(scores: Floats, total: Floats, known: int) -> float:
    """The squares of scores less the mean of what their case scored before, this run's earlier epochs included."""
    earlier = total[:, None] + np.cumsum(scores, axis=1) - scores
    guesses = earlier / (known + np.arange(scores.shape[1]))
    return float(((scores - guesses) ** 2).sum())


def _radius(intrinsic: float, error: float, expected: float) -> float:
    """What a sum less its expectation exceeds, at any time, with chance `error` at most; narrowest about `expected`."""
    from scipy import optimize

    wanted = -np.log(error)
    rho = expected / (2 * wanted + np.log1p(2 * wanted))  # Howard et al. 2021, proposition 3
    high = 1.0
    while log_mixture(high, intrinsic, rho) < wanted:
        high *= 2
    return float(optimize.brentq(lambda total: log_mixture(total, intrinsic, rho) - wanted, 0.0, high, xtol=_ROUNDING))


def log_mixture(total: float, intrinsic: float, rho: float) -> float:
    """The logarithm of exp(l S - psi(l) V), mixed over l in (0, 1): 1 - l is Gamma(rho, rho) cut off at 1.

    Howard et al. 2021, proposition 9, with scale 1.
    """
    from scipy import special

    shape = intrinsic + rho
    prior = _log_prior(rho)
    mixed = special.gammaln(shape) + _log_lower_gamma(shape, total + shape) - shape * np.log(total + shape)
    return float(prior + mixed + total + intrinsic)


@functools.lru_cache(maxsize=64)
def _log_prior(rho: float) -> float:
    from scipy import special

    return float(rho * np.log(rho) - special.gammaln(rho) - _log_lower_gamma(rho, rho))


def _log_lower_gamma(shape: float, at: float) -> float:
    """Of the regularized lower incomplete gamma function."""
    from scipy import special

    return float(np.log(special.gammainc(shape, at)))
