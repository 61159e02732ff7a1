"""One-sided tests of the mean paired difference that need no distribution: sign flips, and McNemar's for yes-or-no.

Under "nothing changed" both sides of a pair are exchangeable, so every sign pattern of the differences is equally
likely. That makes the sign-flip test exact for any metric, any spread and few cases, and for yes-or-no scores it is
the exact McNemar test. That one is conservative; where each case was asked once, its unconditional version is used.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_llmbench.stats.intervals import bent, moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ENUMERATED = 14  # 2**14 patterns take less time than the random ones
_FLIPS = 9_999
_MANY = 1_000  # from here on the mean is normal enough
_UNCONDITIONAL = 500
_SHARES = np.concatenate([np.linspace(0.001, 0.05, 30), np.linspace(0.06, 1.0, 48)])  # of differing pairs
_SEED = 20_250_101  # the same data gives the same p-value
_TINY = 1e-12  # of the greatest difference: the rest is rounding
_CERTAIN = 1e-6
_HALVINGS = 100


class Test(NamedTuple):
    """A p-value and how it was found."""

    p_value: float
    method: str


def p_above(differences: Floats, null: float = 0.0) -> Test:
    """The p-value of "the mean difference is at most `null`" against "it is above"; 1 where nothing differs.

    The larger of two. The sign-flip test is exact where nothing changed but chance. It takes a few great gains against
    many small losses, whose mean is zero, for a change; Student's test with Hall's correction for skewness does not.

    Args:
        differences: (cases,) mean difference of each case.
        null: the mean difference on the border of the hypothesis.

    Raises:
        ValueError: there is no difference at all, or one is not finite.
    """
    if not len(differences) or not np.isfinite(differences).all():
        raise ValueError("differences must be finite, and at least one")
    shifted = differences - null
    moved = shifted[np.abs(shifted) > _TINY * max(np.abs(differences).max(), abs(null))]
    if not len(moved):
        return Test(1.0, "nothing differs")
    if null == 0 and _is_binary(moved):
        flips = _mcnemar(int((moved > 0).sum()), len(moved), len(differences))
    elif len(moved) <= _ENUMERATED:
        flips = Test(_all_flips(moved), "sign-flip test, exact")
    elif len(moved) <= _MANY:
        flips = Test(_random_flips(moved), f"sign-flip test, {_FLIPS:,} random patterns")
    else:
        flips = Test(0.0, "")
    return max(flips, Test(_student(shifted), "t test, corrected for skewness"))


def p_below(differences: Floats, null: float = 0.0) -> Test:
    """The p-value of "the mean difference is at least `null`" against "it is below"."""
    return p_above(-differences, -null)


def _is_binary(moved: Floats) -> bool:
    return bool((np.abs(np.abs(moved) - 1.0) <= _TINY).all())


def _all_flips(moved: Floats) -> float:
    sums = np.zeros(1)
    for value in np.abs(moved):
        sums = np.concatenate([sums + value, sums - value])
    return float((sums >= moved.sum() - _slack(moved)).mean())


def _random_flips(moved: Floats) -> float:
    """Patterns are drawn near the one that was seen, each weighed by how much likelier that made it (Harrison 2012).

    So a p-value of one in a million is known as well as one of 0.05: Holm's correction over many categories asks for
    such. The pattern that was seen counts as one of those drawn. Sizes are sorted: the order of the cases is no matter.
    """
    sizes, seen = np.sort(np.abs(moved)), float(moved.sum())
    lean = _lean(sizes, seen)
    draws = np.random.default_rng(_SEED)
    better = draws.random((_FLIPS, len(sizes))) < 1 / (1 + np.exp(-2 * lean * sizes))
    sums = 2 * (better @ sizes) - sizes.sum()
    extreme = np.append(sums[sums >= seen - _slack(moved)], seen)
    log_weights = np.logaddexp(lean * sizes, -lean * sizes).sum() - len(sizes) * np.log(2) - lean * extreme
    return float(np.exp(np.minimum(log_weights, 0)).sum()) / (1 + _FLIPS)


def _lean(sizes: Floats, seen: float) -> float:
    """How strongly signs lean to plus, for sums of `seen` on average: the exponent of their odds, a unit of size.

    0, which is even odds, where the sum that was seen is not positive.
    """
    aim = min(seen, (1 - _CERTAIN) * float(sizes.sum()))  # no odds make every sign a plus
    low, high = 0.0, 20 / float(sizes[0])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(sizes @ np.tanh(middle * sizes)) < aim else (low, middle)
    return low


def _slack(moved: Floats) -> float:
    """Sums of the same numbers in another order differ by rounding; a tie must stay one."""
    return _TINY * float(np.abs(moved).sum())


def _student(shifted: Floats) -> float:
    """The smaller of Student's statistic and the one with the skewness taken out decides."""
    from scipy import stats

    found = moments(shifted)
    if found is None:  # one case, or all alike: sign flips alone can tell
        return 0.0
    statistic = found.mean / found.error
    return float(stats.t.sf(min(statistic, bent(statistic, found.bend)), len(shifted) - 1))


@functools.lru_cache(maxsize=256)
def _mcnemar(better: int, moved: int, cases: int) -> Test:
    """McNemar's test, exact: unconditional (Suissa and Shuster 1991, outcomes ordered by mid-p) up to some 500 cases.

    The probability, under "better is as likely as worse", of an outcome at least as extreme, at the share of differing
    pairs where that is greatest. It uses the data better than the conditional test, whose level is well under alpha;
    with many cases the two come to the same.
    """
    from scipy import stats

    if cases > _UNCONDITIONAL:
        return Test(float(stats.binom.sf(better - 1, moved, 0.5)), "McNemar test, exact")
    observed = float(_mid_p(np.array(better), np.array(moved)))
    counts = np.arange(1, cases + 1)
    splits = np.arange(cases + 1)[:, None]
    extreme = _mid_p(splits, counts) <= observed * (1 + 1e-9)
    tails = np.where(extreme & (splits <= counts), stats.binom.pmf(splits, counts, 0.5), 0.0).sum(axis=0)
    chances = stats.binom.pmf(counts, cases, _SHARES[:, None]) @ tails
    return Test(float(min(1.0, chances.max())), "McNemar test, exact and unconditional")


def _mid_p(better: NDArray[np.int64], moved: NDArray[np.int64]) -> Floats:
    from scipy import stats

    return stats.binom.sf(better, moved, 0.5) + 0.5 * stats.binom.pmf(better, moved, 0.5)  # type: ignore[no-any-return]
