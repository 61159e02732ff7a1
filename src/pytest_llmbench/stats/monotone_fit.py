"""Every shape that "share of good answers over load" is taken to have, as one array of parameters.

A server answers nearly all in time up to some load and ever fewer beyond. Psychophysics fits such curves to yes-or-no
answers (Wichmann and Hill 2001, "The psychometric function") with a lapse rate, here the share that comes late at any
load: without it one stray stall at a low level would drag the whole curve down. Two shapes are mixed, because the fit
must hold for both: a logistic fall (queues with noise) and a constant share cut by a power of the level (waves: of 17
users on 16 places one comes late). Each is written in the level where it crosses the wanted share, which is what is
asked.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int32]

_STEPS = ((12.0, 0.25), (40.0, 0.5))  # up to this level, crossings are so far apart: none on a whole number
_RATIO = 1.0125  # and beyond, in proportion
_BEYOND = 1.6  # times the highest level: a crossing out of sight still shapes the curve in sight
_STEEPNESS = np.geomspace(3.0, 400.0, 11)  # of the logistic fall, over a rise of the level by the crossing
_POWERS = np.geomspace(0.02, 200.0, 12)  # the least loses 1.4 % of the answers where the load doubles
_FLAT, _RARELY_FLAT = 0.2, 0.1  # so little of the probability do flatter powers get: servers mostly fall steeply
_LAPSES = np.array([0.004, 0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9])  # of the share that may come late
_HOPELESS_LAPSES = np.array([1.1, 1.35, 1.8, 2.6, 4.0, 8.0])  # likewise: even one user would not be served
_WORST_LAPSE = 0.98
_HOPELESS = 0.05  # prior probability of these
_BUNCHING = np.array([(1, 2), (1, 6), (1, 16), (3, 10), (8, 8)])  # design effect without load, and what load adds
_KINDS = np.arange(float(len(_BUNCHING)))

_LOGITS = np.linspace(-8.0, 9.5, 401)
SHARES: Floats = 1 / (1 + np.exp(-_LOGITS))
"""The shares that are told apart, evenly spaced on the logit scale."""
EFFECTS: Floats = np.geomspace(1.0, 64.0, 25)
"""The design effects that are told apart: the variance of a trial's count over that of independent answers."""


@dataclass(frozen=True, slots=True)
class Curves:
    """All curves, one an entry of each array, with their prior; first `logistic` logistic ones, then the powers.

    `threshold` is the level where the curve crosses the wanted share, 0 where it is below at any level. `lapse` is the
    share that comes late at any load. `bunching` is the row of a table of how late answers come together in a trial, by
    a stall of the whole server or in a queue: the design effect is its first number plus the second times the root of
    the share that load makes late.
    """

    logistic: int
    threshold: Floats
    steepness: Floats
    position: Floats
    lapse: Floats
    bunching: NDArray[np.intp]
    prior: Floats

    def cells(self, level: int) -> Indices:
        """Where each curve stands at this level: an index into a table of SHARES (rows) by EFFECTS."""
        carried = self._carried(level)
        share = np.clip((1 - self.lapse) * carried, SHARES[0], SHARES[-1])
        effect = _BUNCHING[self.bunching, 0] + _BUNCHING[self.bunching, 1] * np.sqrt(1 - carried)
        row = np.rint((np.log(share / (1 - share)) - _LOGITS[0]) / (_LOGITS[1] - _LOGITS[0]))
        column = np.rint(np.log(effect) / np.log(EFFECTS[1]))
        found: Indices = (row * len(EFFECTS) + column).astype(np.int32)
        return found

    def _carried(self, level: int) -> Floats:
        """The share of answers that load does not make late."""
        first, rest = slice(self.logistic), slice(self.logistic, None)
        distance = np.clip(self.steepness[first] * (level - self.position[first]), -50, 50)
        power = np.minimum(1.0, self.position[rest] / level) ** self.steepness[rest]
        return np.concatenate([1 / (1 + np.exp(distance)), power])


@functools.lru_cache(maxsize=4)
def falling_curves(share: float, highest: int) -> Curves:
    """The curves that are considered where `share` (0 to 1) is wanted and levels go up to `highest`."""
    crossings, late = _crossings(highest), 1 - share
    lapses, hopeless = _LAPSES * late, np.minimum(_HOPELESS_LAPSES * late, _WORST_LAPSE)
    parts = [
        _logistic(share, _grid(crossings, _STEEPNESS, lapses, _KINDS)),
        _hopeless(_grid(crossings, _STEEPNESS[::5], hopeless, _KINDS)),
        _power(share, _grid(crossings, _POWERS, lapses, _KINDS)),
    ]
    sizes = [len(part[0]) for part in parts]
    weights = ((1 - _HOPELESS) / 2, _HOPELESS, (1 - _HOPELESS) / 2)
    threshold, steepness, position, lapse, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
    prior = np.repeat([weight / size for weight, size in zip(weights, sizes, strict=True)], sizes)
    prior[sizes[0] + sizes[1] :][parts[2][1] < _FLAT] *= _RARELY_FLAT
    prior /= prior.sum()
    return Curves(sizes[0] + sizes[1], threshold, steepness, position, lapse, kind.astype(np.intp), prior)


def _crossings(highest: int) -> Floats:
    end, start, parts = highest * _BEYOND + 1, 0.5, []
    for stop, step in _STEPS:
        parts.append(np.arange(start + step / 2, min(stop, end), step))
        start = stop
    rest = max(0, math.ceil(math.log(end / start) / math.log(_RATIO)))
    return np.concatenate([*parts, start * _RATIO ** (np.arange(rest) + 0.5)])


def _grid(*axes: Floats) -> list[Floats]:
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def _logistic(share: float, grid: list[Floats]) -> tuple[Floats, ...]:
    """(1 - lapse) / (1 + exp(steepness * (level - position))), which is `share` at the threshold."""
    threshold, fall, lapse, kind = grid
    position = threshold * (1 - np.log((1 - lapse) / share - 1) / fall)
    return threshold, fall / threshold, position, lapse, kind


def _hopeless(grid: list[Floats]) -> tuple[Floats, ...]:
    """Logistic ones whose lapses alone are more than the share that may come late."""
    position, fall, lapse, kind = grid
    return np.zeros_like(position), fall / position, position, lapse, kind


def _power(share: float, grid: list[Floats]) -> tuple[Floats, ...]:
    """(1 - lapse) * min(1, (position / level) ** steepness), which is `share` at the threshold."""
    threshold, power, lapse, kind = grid
    return threshold, power, threshold * (share / (1 - lapse)) ** (1 / power), lapse, kind
