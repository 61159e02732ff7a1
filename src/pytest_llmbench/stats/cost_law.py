"""What a prompt's length costs: a constant, a linear and a quadratic part, each with its interval, and the exponent.

Reading a prompt of n tokens costs a fixed part (network, scheduling), one for each token (weights) and one for each
pair of tokens (attention): `a + b n + c n²`, none of them negative. Times vary in proportion to themselves, so the law
is fitted to their logarithms, and Huber's loss keeps a single slow answer from bending it (Carroll and Ruppert 1988,
"Transformation and weighting in regression", chapter 4; Huber 1981, "Robust statistics", chapter 7).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llmbench.stats.intervals import CONFIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Model = Callable[[Floats], Floats]
    Gradient = Callable[[Floats], Floats]

_PARTS = 3
_HUBER = 1.345  # times the spread: 95 % as precise as least squares where noise is normal (Huber 1964)
_MAD_TO_SIGMA = 1.4826
_LEAST_SPREAD = 1e-4  # of a time: clocks are no better
_STEEPEST = 4.0
_STRONG = 6
_STEPS = (5, 14)  # powers of two: servers read 32 to 16,384 tokens at a time
_LEAST_PART = 1e-9  # of the shortest time: what is fitted in logarithms is above 0


@dataclass(frozen=True, slots=True)
class Estimated:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CostLaw:
    """`constant + per_unit * n + per_unit_squared * n ** 2` seconds, `spread` the typical relative deviation from it.

    Where a server reads prompts in pieces of one size, `step`, a last piece that is not full costs as a whole one: n is
    the size rounded up to a multiple of it. `exponent` is p in `constant + factor * n ** p`, None where the sizes
    cannot tell it. `knee` is the size from which the quadratic part costs more than the linear one; None where one of
    them may be 0.
    """

    constant: Estimated
    per_unit: Estimated
    per_unit_squared: Estimated
    exponent: Estimated | None
    knee: Estimated | None
    spread: float
    step: int | None = None


def cost_law(sizes: Floats, seconds: Floats) -> CostLaw | None:
    """The law that the times of these sizes follow; None for fewer than four measurements or three sizes.

    Intervals are Student's around the unconstrained estimate, cut at 0 and stretched to the estimate: so they hold
    where a part is 0, too.

    Raises:
        ValueError: a size or a time is not above 0 and finite.
    """
    if not (np.isfinite(sizes) & np.isfinite(seconds) & (sizes > 0) & (seconds > 0)).all():
        raise ValueError("sizes and seconds must be finite and above 0")
    if len(sizes) <= _PARTS or len(np.unique(sizes)) < _PARTS:
        return None
    step, fitted, read = min(_readings(sizes, seconds), key=lambda one: _criterion(one[0], one[1], len(sizes)))
    longest = float(read.max())
    constant, linear, quadratic = fitted.estimates()
    per_unit, squared = _scaled(linear, 1 / longest), _scaled(quadratic, 1 / longest**2)
    grows = per_unit.low > 0 or squared.low > 0
    exponent = _exponent(read / longest, seconds, fitted.chosen) if grows else None
    return CostLaw(constant, per_unit, squared, exponent, _knee(per_unit, squared), fitted.spread, step)


def _readings(sizes: Floats, seconds: Floats) -> Iterator[tuple[int | None, _Fit, Floats]]:
    """The law with each step that sizes could show, and without any: step, fit and the sizes as they are read."""
    yield None, _law(sizes, seconds), sizes
    for step in (2**power for power in range(_STEPS[0], _STEPS[1] + 1)):
        read = np.ceil(sizes / step) * step
        if len(np.unique(read)) >= _PARTS and (read != sizes).any():
            yield step, _law(read, seconds), read


def _criterion(step: int | None, fitted: _Fit, count: int) -> float:
    """Bayes' criterion (Schwarz 1978); a step must be strongly shown (6 more, Kass and Raftery 1995)."""
    return count * math.log(fitted.loss / count + _LEAST_SPREAD**2) + (0 if step is None else math.log(count) + _STRONG)


def _law(sizes: Floats, seconds: Floats) -> _Fit:
    shares = sizes / sizes.max()
    parts = np.stack([np.ones_like(shares), shares, shares**2], axis=1)
    return _fitted(lambda chosen: parts @ chosen, lambda _: parts, _start(parts, seconds), seconds, np.inf)


@dataclass(frozen=True, slots=True)
class _Fit:
    """The parameters that were found, the unconstrained ones beside them, and half the width of their intervals."""

    chosen: Floats
    free: Floats
    half: Floats
    spread: float
    loss: float

    def estimates(self) -> list[Estimated]:
        lows, highs = (np.maximum(self.free + side * self.half, 0.0) for side in (-1, 1))
        return [
            Estimated(float(value), float(min(value, low)), float(max(value, high)))
            for value, low, high in zip(self.chosen, lows, highs, strict=True)
        ]


def _start(parts: Floats, seconds: Floats) -> Floats:
    """Least squares of relative errors, none negative."""
    from scipy import optimize

    found, _ = optimize.nnls(parts / seconds[:, None], np.ones_like(seconds))
    return np.asarray(np.maximum(found, _LEAST_PART * seconds.min()))


def _fitted(model: Model, gradient: Gradient, start: Floats, seconds: Floats, highest: Any) -> _Fit:
    """The parameters between 0 and `highest` whose logarithms are nearest to those of the times, in Huber's loss."""
    from scipy import optimize, special

    def gaps(chosen: Floats) -> Floats:
        return np.asarray(np.log(model(chosen)) - np.log(seconds))

    def slopes(chosen: Floats) -> Floats:
        return np.asarray(gradient(chosen) / model(chosen)[:, None])

    sigma = _spread(gaps(start))
    found: Any = None
    for _ in range(2):  # the second time the spread is known
        how: dict[str, Any] = {"loss": "huber", "f_scale": _HUBER * sigma, "x_scale": "jac"}
        found = optimize.least_squares(gaps, start, jac=slopes, bounds=(0, highest), **how)
        start, sigma = np.clip(found.x, _LEAST_PART * seconds.min(), highest), _spread(gaps(found.x))
    freedom = len(seconds) - len(start)
    jacobian, residuals = slopes(start), gaps(start)
    pulls = np.clip(residuals, -_HUBER * sigma, _HUBER * sigma)
    kept = float((pulls == residuals).mean())
    inflated = 1 + len(start) / len(seconds) * (1 - kept) / kept
    variance = float((pulls**2).sum() / freedom) * (inflated / kept) ** 2
    inverse = np.linalg.pinv(jacobian.T @ jacobian)
    free = start - inverse @ (jacobian.T @ pulls) / kept
    width = special.stdtrit(freedom, (1 + CONFIDENCE) / 2)
    half = width * np.sqrt(np.maximum(np.diag(inverse), 0.0) * max(variance, _LEAST_SPREAD**2))
    loss = np.where(pulls == residuals, residuals**2, (2 * np.abs(residuals) - np.abs(pulls)) * np.abs(pulls))
    return _Fit(found.x, free, half, math.sqrt(variance), float(loss.sum()))


def _spread(residuals: Floats) -> float:
    return max(_LEAST_SPREAD, _MAD_TO_SIGMA * float(np.median(np.abs(residuals))))


def _exponent(shares: Floats, seconds: Floats, parts: Floats) -> Estimated | None:
    """Of `constant + factor * share ** p`, started from the law's parts; None where its interval is too wide to say."""
    growing = parts[1] + parts[2]

    def model(chosen: Floats) -> Floats:
        return np.asarray(chosen[0] + chosen[1] * shares ** chosen[2])

    def gradient(chosen: Floats) -> Floats:
        power = shares ** chosen[2]
        return np.stack([np.ones_like(shares), power, chosen[1] * power * np.log(shares)], axis=1)

    start = np.array([max(parts[0], _LEAST_PART * seconds.min()), growing, 1 + parts[2] / growing])
    fitted = _fitted(model, gradient, start, seconds, np.array([np.inf, np.inf, _STEEPEST]))
    found = fitted.estimates()[2]
    return found if found.high - found.low <= 1 else None


def _knee(per_unit: Estimated, squared: Estimated) -> Estimated | None:
    """Where both parts cost the same; ratios of the ends, which are not too wide: errors of the parts are opposite."""
    if squared.low <= 0 or per_unit.low <= 0:
        return None
    return Estimated(per_unit.value / squared.value, per_unit.low / squared.high, per_unit.high / squared.low)


def _scaled(one: Estimated, factor: float) -> Estimated:
    return Estimated(one.value * factor, one.low * factor, one.high * factor)
