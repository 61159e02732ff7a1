"""The interval of a mean paired change, from the tests that decide a verdict, so that the two never contradict."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_llmbench.stats import yes_or_no
from pytest_llmbench.stats.intervals import CONFIDENCE, mean_interval
from pytest_llmbench.stats.significance import Changes, seen_end

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EXACT_METHOD = "interval of the same test"


class Border(NamedTuple):
    """A mean change that a one-sided test was asked about, and its p-value."""

    null: float
    p_value: float


def change_interval(
    changes: Changes | Floats, above: Border | None = None, below: Border | None = None, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Where the mean change of all such units lies; None for one unit, or where nothing is known.

    Of yes-or-no scores it holds what the exact test does not reject, also where nothing changed. Of others it is
    Student's, widened for skewness; where all changed alike, what `p_unseen` does not reject; never beyond what scores
    can be. `above` and `below` are borders that verdicts were asked about ("the mean is above", "below"): the lower end
    is above such a border if, and only if, its p-value is at most half of what confidence leaves.
    """
    if not isinstance(changes, Changes):
        changes = Changes(changes, 1.0 if _are_yes_or_no(changes) else None)
    level = (1 - confidence) / 2
    low = lower_end(changes, level, above)
    high = lower_end(changes.mirrored(), level, below and Border(-below.null, below.p_value))
    return None if low is None or high is None else (low, -high)


def lower_end(changes: Changes, level: float, border: Border | None = None) -> float | None:
    """The lower end of a one-sided interval, which errs at most at this level; None as for `change_interval`."""
    if len(changes.values) < 2:  # noqa: PLR2004  # one unit has no variance
        return None
    counted = changes.counts(math.nan)
    if counted is not None:
        counts, unit = counted
        return unit * _exact_end(counts, level, border.null / unit if border else -1.0)
    interval = mean_interval(changes.values, 1 - 2 * level)
    if interval is not None:
        low = interval[0]
    elif changes.scale is not None:
        low = seen_end(changes, level)
    else:
        return None
    if border is not None and border.p_value <= level:
        low = max(low, float(np.nextafter(border.null, math.inf)))
    elif border is not None:
        low = min(low, border.null)
    return low if changes.scale is None else max(low, -changes.scale)


@functools.lru_cache(maxsize=4096)
def _exact_end(counts: yes_or_no.Counts, level: float, border: float) -> float:
    return yes_or_no.end_below(counts, level, border)


def _are_yes_or_no(changes: Floats) -> bool:
    return bool(np.isin(changes, (-1.0, 0.0, 1.0)).all() and changes.any())
