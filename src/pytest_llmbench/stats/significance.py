"""One-sided tests of the mean paired change that need no distribution, its interval, and what they must agree with.

Under "nothing changed" both sides of a pair are exchangeable: `stats.permutation` counts what else could have been. For
yes-or-no scores, asked once, there is an exact unconditional test at any margin: `stats.yes_or_no`. The interval comes
from the tests that decide a verdict, so that the two never contradict.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_llmbench.stats import yes_or_no
from pytest_llmbench.stats.intervals import CONFIDENCE, bent, mean_interval, moments
from pytest_llmbench.stats.permutation import Laws, either_sign, tail
from pytest_llmbench.stats.unseen import p_unseen, seen_end
from pytest_llmbench.stats.yes_or_no import Counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


_MANY = 1_000  # from here on the mean is normal enough
_TINY = 1e-9  # of the greatest change: scores have fewer digits
_ALIKE = 1e-5  # of a change: thirds have six digits

EXACT_METHOD = "interval of the same test"


class Test(NamedTuple):
    """A p-value and how it was found."""

    p_value: float
    method: str


@dataclass(frozen=True, slots=True)
class Changes:
    """The change of each unit, and what a test of their mean may know of it.

    `scale` is the most that one unit can change, None where a score has no bounds. `uneven` has the lines of units
    that were asked more often on one side, and their laws where nothing changed.
    """

    values: Floats
    scale: float | None = None
    uneven: tuple[NDArray[np.int64], Laws] | None = None

    def mirrored(self) -> Changes:
        """Better and worse exchanged."""
        uneven = self.uneven and (self.uneven[0], self.uneven[1].mirrored())
        return Changes(-self.values, self.scale, uneven)

    def counts(self, null: float) -> tuple[Counts, float] | None:
        """How many got better and worse, and the size of a change: None where there is more than one size.

        At a border other than 0 that size must be the most there can be: of others, greater ones may be unseen.
        """
        if self.uneven is not None or (null != 0 and self.scale is None):
            return None
        sizes = np.abs(self.values)
        size = float(sizes.max()) if null == 0 else float(self.scale or 0)
        moved = sizes > _TINY * size
        if size == 0 or (np.abs(sizes[moved] - size) > _ALIKE * size).any():
            return None
        better = int((self.values[moved] > 0).sum())
        return Counts(better, int(moved.sum()) - better, len(self.values)), size


def p_above(changes: Changes | Floats, null: float = 0.0) -> Test:
    """The p-value of "the mean change is at most `null`" against "it is above"; 1 where nothing differs from it.

    Yes-or-no scores have a test of their own. For others it is the largest of: the permutation test, which is exact
    where nothing changed but chance; Student's test with Hall's correction for skewness, as the former takes a few
    great gains against many small losses, whose mean is zero, for a change; and at a margin, below 0, the chance that
    great losses were not met with at all (`p_unseen`). Skewness that unequal numbers of answers alone would make is not
    taken out where the permutation test, which knows it, is asked and exact.

    Raises:
        ValueError: there is no change at all, or one is not finite.
    """
    if not isinstance(changes, Changes):
        changes = Changes(changes)
    if not len(changes.values) or not np.isfinite(changes.values).all():
        raise ValueError("differences must be finite, and at least one")
    if counted := changes.counts(null):
        counts, size = counted
        exact = (
            "exact and unconditional" if counts.cases <= yes_or_no.EXACT_CASES else "exact" if null == 0 else "normal"
        )
        name = "McNemar test" if null == 0 else "Tango's score test"
        return Test(yes_or_no.p_of_counts(counts, null / size), f"{name}, {exact}")
    permuted = _permuted(changes, null)
    known = min(0.0, _bend_of_dealing(changes)) if null == 0 and permuted.method else 0.0
    found = max(permuted, Test(_student(changes.values - null, known), "t test, corrected for skewness"))
    if null == 0 or changes.scale is None or (null > 0 and moments(changes.values) is not None):
        return found
    unseen = p_unseen(float(changes.values.mean()) / changes.scale, len(changes.values), null / changes.scale)
    return max(found, Test(unseen, "binomial bound on losses not seen"))


def p_below(changes: Changes | Floats, null: float = 0.0) -> Test:
    """The p-value of "the mean change is at least `null`" against "it is below".

    That a fall was seen is no matter of what was not: the bound on what is unseen is of passing alone.
    """
    if not isinstance(changes, Changes):
        changes = Changes(changes)
    mirrored = changes.mirrored()
    if null != 0 and mirrored.counts(-null) is None:
        mirrored = Changes(mirrored.values, None, mirrored.uneven)
    return p_above(mirrored, -null)


def _permuted(changes: Changes, null: float) -> Test:
    shifted = changes.values - null
    moved = np.abs(shifted) > _TINY * max(np.abs(changes.values).max(), abs(null))
    shifted = np.where(moved, shifted, 0)
    laws, free = either_sign(shifted), moved
    if changes.uneven is not None:
        laws = _with_uneven(laws, *changes.uneven)
        free = np.ptp(laws.values, axis=1) > 0
    if free.sum() > _MANY:
        return Test(0.0, "")
    if not free.any():
        return Test(0.0, "") if moved.any() else Test(1.0, "nothing differs")
    return Test(*tail(Laws(laws.values[free], laws.chances[free]), float(shifted.sum()), len(shifted)))


def _with_uneven(laws: Laws, lines: NDArray[np.int64], dealt: Laws) -> Laws:
    """The laws of all units, those that were dealt anew in the place of either sign."""
    missing = max(0, dealt.values.shape[1] - laws.values.shape[1])
    values = np.pad(laws.values, ((0, 0), (0, missing)), "edge")
    chances = np.pad(laws.chances, ((0, 0), (0, missing)))
    values[lines], chances[lines] = dealt
    return Laws(values, chances)


def _student(shifted: Floats, known_bend: float) -> float:
    """The smaller of Student's statistic and the one with the skewness taken out, but for what is known, decides."""
    from scipy import special

    found = moments(shifted)
    if found is None:  # one case, or all alike: others can tell
        return 0.0
    statistic = found.mean / found.error
    return float(special.stdtr(len(shifted) - 1, -min(statistic, bent(statistic, found.bend - known_bend))))


def _bend_of_dealing(changes: Changes) -> float:
    """The skewness, as `Moments.bend` counts it, that units asked more often on one side have where nothing changed."""
    found = moments(changes.values)
    if changes.uneven is None or found is None:
        return 0.0
    values, chances = changes.uneven[1]
    centred = values - (values * chances).sum(axis=1, keepdims=True)
    third = float((chances * centred**3).sum())
    return third / (len(changes.values) * found.error) ** 3


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
        low = changes.scale * seen_end(float(changes.values.mean()) / changes.scale, len(changes.values), level)
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
