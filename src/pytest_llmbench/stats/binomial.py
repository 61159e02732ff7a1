"""Binomial probabilities."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

UNLIKELY = 1e-14
"""Outcomes that are less likely than this are left out of sums."""


def binomial(cases: int, shares: Floats) -> Floats:
    """The chance of each number of cases, for shares in rows: scipy's own checks take longer than this."""
    from scipy import special

    counts = np.arange(cases + 1)
    logs = special.xlogy(counts, shares) + special.xlog1py(cases - counts, -shares) + _log_ways(cases)
    return np.exp(logs)  # type: ignore[no-any-return]


def at_least(counts: ArrayLike, cases: ArrayLike, share: float) -> Floats:
    """The chance of so many of the cases or more: 1 below one, 0 above all. Arguments broadcast.

    The regularized incomplete beta function; `scipy.stats`, which has it as `binom.sf`, takes over a second to import.
    """
    from scipy import special

    counts, cases = np.asarray(counts), np.asarray(cases)
    found = special.betainc(np.maximum(counts, 1), np.maximum(cases - counts + 1, 1), share)
    return np.where(counts < 1, 1.0, np.where(counts > cases, 0.0, found))


@functools.lru_cache(maxsize=64)
def _log_ways(cases: int) -> Floats:
    from scipy import special

    counts = np.arange(cases + 1)
    return special.gammaln(cases + 1) - special.gammaln(counts + 1) - special.gammaln(cases - counts + 1)  # type: ignore[no-any-return]
