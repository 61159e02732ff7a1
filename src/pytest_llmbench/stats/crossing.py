"""Where a quantile of a noisy, rising cost crosses a limit: how long a prompt may be for 95 % to come in time.

Near the crossing the logarithm of the cost is a straight line over the logarithm of the size, whatever the law (a
constant, a linear and a quadratic part bend it little over a fifth of the size). Ordinary least squares gives that
line and the spread around it; noise that multiplies is normal on this scale. The crossing is where the line, raised by
the quantile of the spread, meets the limit; its interval is Fieller's (1954, "Some problems in interval estimation"),
with the errors of the line and of the spread: sizes that lie too close together to show how the cost rises make it
wide. For the same reason the window is as wide as it must be for the rise to be sure.
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
_WINDOW = 0.2  # of the logarithm of the size, on either side, at least
_WIDER = 1.25  # times the window, where it does not show how the cost rises
_SURE = 3.0  # standard errors of the slope from which on a window tells it well enough
_NOT_NONE = 1.0  # and from which on all of them tell anything: the interval is open then
_MOST_ALONE = 0.7  # of the slope's weight on one measurement: a line that goes through it says nothing of its error
_LEAST_SLOPE = 0.05  # a cost that does not rise crosses nothing
_ALIKE = 0.1  # of the logarithm: sizes whose costs are looked at together to begin with
_STRAIGHT = 1.5  # times the window: how far a law that bends may be taken for a line
_LEAST_SPREAD = 1e-4  # clocks are no better
_MOST = 40.0  # of the logarithm: as good as never
_ENOUGH_BEYOND = 5  # measurements beyond a quantile, from which on they may speak for themselves
_CONTRADICTS = 3.0  # standard errors


@dataclasses.dataclass(frozen=True, slots=True)
class Crossing:
    """The size at the crossing with its interval, from `measured` measurements around it.

    `slope` is the power with which the cost rises there, `spread` the relative deviation of a measurement. It is
    `firm` where the rise is sure, and all measurements so near that no bend of the law moves it.
    """

    size: float
    low: float
    high: float
    slope: float
    spread: float
    measured: int
    firm: bool

    @property
    def half_width(self) -> float:
        """Of the interval, as a share of the size."""
        return math.log(self.high / self.low) / 2


def crossing(
    points: Sequence[tuple[float, float]], limit: float, quantile: float, confidence: float = CONFIDENCE
) -> Crossing | None:
    """The crossing of (size, cost) points, all positive; None where they are too few, or do not show the cost to rise.

    Its interval holds the truth with the chance `confidence`. A quantile of 1 is taken for the largest of as many as
    there are.
    """
    if len(points) < FEWEST or len({size for size, _ in points}) < 2:  # noqa: PLR2004  # a line needs two
        return None
    sizes, costs = (np.log(np.array(column)) for column in zip(*points, strict=True))
    found: Crossing | None = None
    centre = _start(sizes, costs, math.log(limit), quantile)
    for _ in range(_ROUNDS):
        line = _line(sizes, costs, min(max(centre, float(sizes.min())), float(sizes.max())))
        if line is None:  # few that happen to lie together: what more of them showed stays
            break
        found = line.crossing(math.log(limit), quantile, confidence)
        moved, centre = abs(math.log(found.size) - centre), math.log(found.size)
        if moved < _SETTLED:
            break
    return found


def _start(sizes: np.ndarray, costs: np.ndarray, limit: float, quantile: float) -> float:
    """The size at which the quantile of the costs is nearest to the limit: a single slow one does not begin it."""
    groups = np.round(sizes / _ALIKE)
    found = [(float(np.quantile(costs[groups == one], quantile)), one * _ALIKE) for one in np.unique(groups)]
    return float(min(found, key=lambda group: abs(group[0] - limit))[1])


@dataclasses.dataclass(frozen=True, slots=True)
class _Line:
    """The logarithm of the cost over that of the size, `at_middle` in the middle of the sizes."""

    sizes: np.ndarray
    middle: float
    spans: float
    at_middle: float
    slope: float
    rest: np.ndarray
    spread: float

    @classmethod
    def through(cls, sizes: np.ndarray, costs: np.ndarray) -> _Line:
        middle, at_middle = float(sizes.mean()), float(costs.mean())
        spans = float(((sizes - middle) ** 2).sum())
        slope = float(((sizes - middle) * (costs - at_middle)).sum() / spans)
        rest = costs - at_middle - slope * (sizes - middle)
        spread = max(_LEAST_SPREAD, math.sqrt(float((rest**2).sum()) / (len(sizes) - 2)))
        return cls(sizes, middle, spans, at_middle, slope, rest, spread)

    def rises(self, errors: float) -> bool:
        """Whether its slope is more than so many standard errors, and no single measurement makes it."""
        alone = 1 / len(self.sizes) + float(((self.sizes - self.middle) ** 2).max()) / self.spans
        least = max(_LEAST_SLOPE, errors * self.spread / math.sqrt(self.spans))
        return self.slope > least and alone <= _MOST_ALONE

    def crossing(self, limit: float, quantile: float, confidence: float) -> Crossing:
        from scipy import special

        count = len(self.sizes)
        raised = float(special.ndtri(min(quantile, 1 - 0.5 / count)))
        above, error_above = _quantile(self.rest, self.spread, raised, quantile)
        wanted = limit - above - self.at_middle  # of the line, above its middle
        errors = float(special.stdtrit(count - 2, (1 + confidence) / 2))
        level = errors**2 * (self.spread**2 / count + error_above**2)
        low, high = _fieller(wanted, self.slope, level, errors**2 * self.spread**2 / self.spans)
        at = self.middle + wanted / self.slope
        ends = (at, self.middle + low, self.middle + high)
        size, first, last = (math.exp(min(_MOST, max(-_MOST, end))) for end in ends)
        firm = self.rises(_SURE) and float(np.abs(self.sizes - at).max()) <= _STRAIGHT * _WINDOW
        return Crossing(size, first, last, self.slope, self.spread, count, firm)


def _fieller(wanted: float, slope: float, level: float, tilt: float) -> tuple[float, float]:
    """Where a line through zero may be `wanted`: `level` and `tilt` are the squared reaches of its height and slope."""
    left = slope**2 - tilt
    if left <= 0:  # it may as well fall
        return -math.inf, math.inf
    reach = math.sqrt(max(0.0, level * left + wanted**2 * tilt))
    return (slope * wanted - reach) / left, (slope * wanted + reach) / left


def _line(sizes: np.ndarray, costs: np.ndarray, centre: float) -> _Line | None:
    """The line through the fewest measurements around the centre that show the cost to rise; None where none do."""
    distances = np.abs(sizes - centre)
    farthest, window = float(distances.max()), _WINDOW
    while True:
        near, is_widest = distances <= window, window >= farthest
        if near.sum() >= FEWEST and np.ptp(sizes[near]) > 0:
            line = _Line.through(sizes[near], costs[near])
            if line.rises(_NOT_NONE if is_widest else _SURE):
                return line
        if is_widest:
            return None
        window *= _WIDER


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
