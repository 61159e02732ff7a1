"""Binomial probabilities."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

UNLIKELY = 1e-14
"""Outcomes that are less likely than this are left out of sums."""


def binomial(cases: int, shares: Floats) -> Floats:
    """The chance of each number of cases, for shares in rows: scipy's own checks take longer than this."""
    from scipy import special

    counts = np.arange(cases + 1)
    logs = special.xlogy(counts, shares) + special.xlog1py(cases - counts, -shares) + _log_ways(cases)
    return np.exp(logs)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=64)
def _log_ways(cases: int) -> Floats:
    from scipy import special

    counts = np.arange(cases + 1)
    return special.gammaln(cases + 1) - special.gammaln(counts + 1) - special.gammaln(cases - counts + 1)  # type: ignore[no-any-return]
