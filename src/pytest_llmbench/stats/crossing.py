"""Where a quantile of a noisy, rising cost crosses a limit: how long a prompt may be for 95 % to come in time.

Near the crossing the logarithm of the cost is a straight line over the logarithm of the size, whatever the law (a
constant, a linear and a quadratic part bend it little over a fifth of the size). Ordinary least squares gives that
line and the spread around it; noise that multiplies is normal on this scale. The crossing is where the line, raised by
the quantile of the spread, meets the limit; its interval is that of the delta method, with the errors of the line and
of the spread (Serfling 1980, 3.3).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from pytest_llmbench.stats.intervals import CONFIDENCE

FEWEST = 5
"""Measurements that a crossing is estimated from at least."""

_ROUNDS = 6  # in which the window follows the estimate
_SETTLED = 0.01
_WINDOW = 0.2  # of the logarithm of the size, on either side
_LEAST_SLOPE = 0.05  # a cost that does not rise crosses nothing
_LEAST_SPREAD = 1e-4  # clocks are no better
_MOST = 40.0  # of the logarithm: as good as never
_ENOUGH_BEYOND = 5  # measurements beyond a quantile, from which on they may speak for themselves
_CONTRADICTS = 3.0  # standard errors


@dataclasses.dataclass(frozen=True, slots=True)
class Crossing:
    """The size at the crossing with its interval, from `measured` measurements nearby.

    `slope` is the power with which the cost rises there, `spread` the relative deviation of a measurement.
    """

    size: float
    low: float
    high: float
    slope: float
    spread: float
    measured: int

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the size."""
        return math.log(self.high / self.low) / 2


def crossing(
    points: Sequence[tuple[float, float]], limit: float, quantile: float, confidence: float = CONFIDENCE
) -> Crossing | None:
    """The crossing of (size, cost) points, all positive; None where they are too few, or the cost does not rise.

    Its interval holds the truth with the chance `confidence`. A quantile of 1 is taken for the largest of as many as
    there are.
    """
    if len(points) < FEWEST or len({size for size, _ in points}) < 2:  # noqa: PLR2004  # a line needs two
        return None
    sizes, costs = (np.log(np.array(column)) for column in zip(*points, strict=True))
    found: Crossing | None = None
    centre = _start(sizes, costs, math.log(limit))
    for _ in range(_ROUNDS):
        near = _near(sizes, min(max(centre, float(sizes.min())), float(sizes.max())))
        again = _fitted(sizes[near], costs[near], math.log(limit), quantile, confidence)
        if again is None:  # few that happen to lie together: what more of them showed stays
            break
        found, moved = again, abs(math.log(again.size) - centre)
        centre = math.log(again.size)
        if moved < _SETTLED:
            break
    return found


def _start(sizes: np.ndarray, costs: np.ndarray, limit: float) -> float:
    """The size of the measurement whose cost is nearest to the limit."""
    return float(sizes[np.argmin(np.abs(costs - limit))])


def _near(sizes: np.ndarray, centre: float) -> np.ndarray:
    """The measurements in the window, or as many of the nearest as are needed, on two sizes at least."""
    distances = np.abs(sizes - centre)
    within = distances <= _WINDOW
    if within.sum() >= FEWEST and np.ptp(sizes[within]) > 0:
        return within
    order = distances.argsort(kind="stable")
    count = FEWEST
    while count < len(sizes) and np.ptp(sizes[order[:count]]) == 0:
        count += 1
    nearest = np.zeros(len(sizes), dtype=bool)
    nearest[distances <= distances[order[count - 1]]] = True
    return nearest


def _fitted(sizes: np.ndarray, costs: np.ndarray, limit: float, quantile: float, confidence: float) -> Crossing | None:
    from scipy import special

    count, middle = len(sizes), float(sizes.mean())
    spans = float(((sizes - middle) ** 2).sum())
    slope = float(((sizes - middle) * costs).sum() / spans)
    if slope < _LEAST_SLOPE:
        return None
    rest = costs - costs.mean() - slope * (sizes - middle)
    spread = max(_LEAST_SPREAD, math.sqrt(float((rest**2).sum()) / (count - 2)))
    raised = float(special.ndtri(min(quantile, 1 - 0.5 / count)))
    above, error_above = _quantile(rest, spread, raised, quantile)
    at = middle + (limit - above - float(costs.mean())) / slope
    error = math.sqrt(spread**2 * (1 / count + (at - middle) ** 2 / spans) + error_above**2) / slope
    reach = float(special.stdtrit(count - 2, (1 + confidence) / 2)) * error
    low, size, high = (math.exp(min(_MOST, max(-_MOST, end))) for end in (at - reach, at, at + reach))
    return Crossing(size, low, high, slope, spread, count)


def _quantile(rest: np.ndarray, spread: float, raised: float, quantile: float) -> tuple[float, float]:
    """How far the quantile lies above the line, and its standard error: the normal one unless the data contradict it.

    Of a tail that is heavier, or lighter, the measurements' own quantile is taken once enough lie beyond it.
    """
    count = len(rest)
    normal, error = raised * spread, abs(raised) * spread / math.sqrt(2 * (count - 1))
    if quantile >= 1 or count * min(quantile, 1 - quantile) < _ENOUGH_BEYOND:
        return normal, error
    density = math.exp(-(raised**2) / 2) / math.sqrt(2 * math.pi) / spread
    own, own_error = float(np.quantile(rest, quantile)), math.sqrt(quantile * (1 - quantile) / count) / density
    if abs(own - normal) > _CONTRADICTS * math.sqrt(max(own_error**2 - error**2, error**2)):
        return own, own_error
    return normal, error
