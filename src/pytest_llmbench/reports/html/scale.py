"""Axes of tracks in tables: from values to percentages of a column's width, with round ticks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

_STEPS = (1, 2, 2.5, 5, 10)
_MOST_TICKS = 5
_ROUNDING = 9
_DRAWN_DIGITS = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis from `low` to `high`, both included, with ticks a round `step` apart."""

    low: float
    high: float
    step: float

    def at(self, value: float) -> float:
        """Where a value lies, in percent from the low end; values outside stick to the edge."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), _DRAWN_DIGITS)

    @property
    def ticks(self) -> list[float]:
        """Multiples of the step inside the axis."""
        first, last = math.ceil(round(self.low / self.step, _ROUNDING)), round(self.high / self.step, _ROUNDING)
        return [round(place * self.step, _ROUNDING) for place in range(first, math.floor(last) + 1)]


def farthest(scores: Iterable[float | None]) -> float | None:
    """How far a difference between such scores can reach: 1 where all are shares, None where any is not."""
    return 1.0 if all(score is None or 0 <= score <= 1 for score in scores) else None


def scale_over(values: Iterable[float | None]) -> Scale:
    """An axis that holds zero and every value, widened to whole ticks; shares of one always get 0 to 1."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    if low == 0 and high <= 1:
        high = 1.0
    step = _round_step((high - low) / _MOST_TICKS)
    return Scale(
        low=math.floor(round(low / step, _ROUNDING)) * step,
        high=math.ceil(round(high / step, _ROUNDING)) * step,
        step=step,
    )


def symmetric(values: Iterable[float | None], *, most: float | None = None) -> Scale:
    """An axis around zero as wide on both sides, so that a bar's side tells its sign; never beyond `most`."""
    reach = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0) or 1.0
    reach = reach if most is None else min(reach, most)
    step = _round_step(2 * reach / _MOST_TICKS)
    edge = math.ceil(round(reach / step, _ROUNDING)) * step
    edge = edge if most is None else min(edge, most)
    return Scale(low=-edge, high=edge, step=step)


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in _STEPS if factor * power >= least * (1 - 1e-9)), 10 * power)
