"""The answers of both sides, and the changes of the units that were sampled: cases, or groups of cases."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.stats.permutation import Laws, dealt_anew
from pytest_llmbench.stats.power import Spread
from pytest_llmbench.stats.significance import Changes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

_ROUNDING = 1e-9  # of a mean score
_TINY = 1e-12  # of the greatest
_MOST_UNEVEN = 1_000  # with more, the mean is normal enough


@dataclass(frozen=True, slots=True)
class SideScores:
    """Scores of one side, greater for better, and to which case (0, 1, …) each belongs. Each case has at least one."""

    values: Floats
    cases: Integers

    @staticmethod
    def once(values: Floats) -> SideScores:
        """Of cases that were each asked once."""
        return SideScores(values, np.arange(len(values)))

    @staticmethod
    def of_table(scores: Floats) -> SideScores:
        """Of a table (cases, epochs), NaN where there is no answer."""
        scored = ~np.isnan(scores)
        return SideScores(scores[scored], np.nonzero(scored)[0])

    def counts(self) -> Integers:
        """How many answers each case has."""
        return np.bincount(self.cases)

    def means(self) -> Floats:
        """Each case's mean."""
        return np.bincount(self.cases, self.values) / self.counts()


@dataclass(frozen=True, slots=True)
class Paired:
    """What two sides come to: the means over all units, the units' changes, and how these vary."""

    before: float
    after: float
    changes: Changes
    spread: Spread
    cases: int
    epochs: float


def paired(
    before: SideScores, after: SideScores, groups: Integers | None = None, measured_in: str | None = None
) -> Paired:
    """Both sides, unit by unit. `groups` says to which group (0, 1, …) each case belongs; its mean is then the unit.

    What is `measured_in` seconds, or in anything, has no greatest score, however small those are that were seen.

    Raises:
        ValueError: an answer is not finite, or the sides have not the same cases.
    """
    if not (np.isfinite(before.values).all() and np.isfinite(after.values).all()):
        raise ValueError("scores must be finite")
    counts = before.counts(), after.counts()
    if len(counts[0]) != len(counts[1]) or not len(counts[0]) or min(counts[0].min(), counts[1].min()) < 1:
        raise ValueError("both sides must have answers to the same cases, and to at least one")
    sides = before.means(), after.means()
    greatest = max(float(np.abs(side.values).max()) for side in (before, after))
    changes = sides[1] - sides[0]
    changes[np.abs(changes) <= np.maximum(_ROUNDING * np.maximum(*map(np.abs, sides)), _TINY * greatest)] = 0
    uneven = _uneven(before, after) if (counts[0] != counts[1]).any() else None
    if groups is not None:
        sides = _group_means(sides[0], groups), _group_means(sides[1], groups)
        changes, uneven = _group_means(changes, groups), _of_groups(uneven, groups)
    scale, is_yes_or_no = (
        _scale(np.concatenate([before.values, after.values])) if measured_in is None else (None, False)
    )
    if scale is None and np.ptp(changes) <= _TINY * greatest:
        scale = greatest or 1.0
    epochs = float(np.minimum(*counts).mean())
    spread = _spread(before, after, changes, scale if is_yes_or_no else None, groups)
    means = float(sides[0].mean()), float(sides[1].mean())
    return Paired(*means, Changes(changes, scale, uneven), spread, len(counts[0]), epochs)


def _scale(values: Floats) -> tuple[float | None, bool]:
    """The most that a score can change, None where that is unknown, and whether it says yes or no.

    Scores from 0 to 1 (or, less being better, from -1 to 0) have the scale 1; those of two values, one of them 0, have
    the other, as where right is 100.
    """
    greatest = float(np.abs(values).max())
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 < highest:
        return None, False
    is_nothing = np.abs(values) <= _TINY * greatest
    if (is_nothing | (np.abs(np.abs(values) - greatest) <= _TINY * greatest)).all() and greatest > 0:
        if greatest == 1 or (is_nothing.any() and not is_nothing.all()):
            return greatest, True
    elif greatest == 0:
        return 1.0, True
    return (1.0 if greatest <= 1 else None), False


def _uneven(before: SideScores, after: SideScores) -> tuple[Integers, Laws] | None:
    """The cases that were asked more often on one side, and what their changes may be where nothing changed.

    Those of which all answers are the same are left out: however they are dealt, nothing changes. None where there are
    no others, or so many that the mean is normal enough.
    """
    counts = before.counts(), after.counts()
    least, most = np.full(len(counts[0]), np.inf), np.full(len(counts[0]), -np.inf)
    for side in (before, after):
        np.minimum.at(least, side.cases, side.values)
        np.maximum.at(most, side.cases, side.values)
    lines = np.nonzero((counts[0] != counts[1]) & (least < most))[0]
    if not 0 < len(lines) <= _MOST_UNEVEN:
        return None
    orders = [np.argsort(side.cases, kind="stable") for side in (before, after)]
    ends = [np.concatenate([[0], count.cumsum()]) for count in counts]
    dealt = []
    for line in lines.tolist():
        answers = [
            tuple(np.sort(side.values[order[end[line] : end[line + 1]]]).tolist())
            for side, order, end in zip((before, after), orders, ends, strict=True)
        ]
        dealt.append(_dealt(*answers))
    width = max(len(values) for values, _ in dealt)
    values, chances = np.empty((len(dealt), width)), np.zeros((len(dealt), width))
    for line, (some, likely) in enumerate(dealt):
        values[line, : len(some)], values[line, len(some) :] = some, some[-1]
        chances[line, : len(some)] = likely
    return lines, Laws(values, chances)


@functools.lru_cache(maxsize=1024)
def _dealt(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[Floats, Floats]:
    return dealt_anew(np.array(before), np.array(after))


def _group_means(values: Floats, groups: Integers) -> Floats:
    return np.bincount(groups, values) / np.bincount(groups)


def _of_groups(uneven: tuple[Integers, Laws] | None, groups: Integers) -> tuple[Integers, Laws] | None:
    """Of groups of one case, that case's law; a mean over several has either sign, nearly."""
    if uneven is None:
        return None
    lines, laws = uneven
    alone = np.bincount(groups)[groups[lines]] == 1
    return (groups[lines[alone]], Laws(laws.values[alone], laws.chances[alone])) if alone.any() else None


def _spread(
    before: SideScores, after: SideScores, changes: Floats, yes_or_no: float | None, groups: Integers | None
) -> Spread:
    """How units' changes vary, and the part of it that more epochs would shrink."""
    variance = float(changes.var(ddof=1)) if len(changes) > 1 else float("nan")
    within, epochs = _within(before, after)
    answers = min(len(before.values), len(after.values)) / len(changes)
    if groups is not None:
        within = None  # how many cases a group has is no matter of epochs
    once = len(before.values) == len(after.values) == len(changes)
    return Spread(len(changes), variance, within, epochs, yes_or_no, float((changes**2).sum()), answers, once)


def _within(before: SideScores, after: SideScores) -> tuple[float | None, float]:
    """The variance of one epoch's change around its case's, and how many epochs a case has, in effect.

    Epochs are paired where each case has as many on both sides: a case that is answered alike in each does not vary.
    """
    counts = before.counts(), after.counts()
    if (counts[0] == counts[1]).all():
        orders = [np.argsort(side.cases, kind="stable") for side in (before, after)]
        differences = SideScores(after.values[orders[1]] - before.values[orders[0]], before.cases[orders[0]])
        return _variance_within(differences), len(before.values) / len(counts[0])
    each = [_variance_within(side) for side in (before, after)]
    known = [variance for variance in each if variance is not None]
    if not known:
        return None, 1.0
    of_sides = [known[0] if variance is None else variance for variance in each]
    noise = sum(variance * float((1 / count).mean()) for variance, count in zip(of_sides, counts, strict=True))
    return sum(of_sides), sum(of_sides) / noise if noise else 1.0


def _variance_within(answers: SideScores) -> float | None:
    freedom = len(answers.values) - len(answers.counts())
    if not freedom:
        return None
    return float(((answers.values - answers.means()[answers.cases]) ** 2).sum() / freedom)
