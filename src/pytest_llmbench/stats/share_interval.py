"""Intervals of shares, also where several answers come from one asking, and of the mean of scores from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pytest_llmbench.stats.intervals import CONFIDENCE, mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Share(NamedTuple):
    """A share between 0 and 1, and its interval."""

    value: float
    low: float
    high: float


def share_interval(found: Sequence[int], asked: Sequence[int], confidence: float = CONFIDENCE) -> Share:
    """The share of what was asked that was found, one entry an asking, with its interval.

    Clopper and Pearson's exact interval; where an asking has several answers, which are alike, with as many answers as
    independent ones would be as precise (Korn and Graubard 1998, "Confidence intervals for proportions with small
    expected number of positive counts estimated from survey data"). Where all were found, or none, likeness cannot be
    seen: each asking counts as one answer then.

    Raises:
        ValueError: nothing was asked, or more was found than asked.
    """
    from scipy import special

    right, all_asked = np.asarray(found, dtype=float), np.asarray(asked, dtype=float)
    if not len(right) or (all_asked < 1).any() or (right > all_asked).any() or (right < 0).any():
        raise ValueError("each asking needs at least one answer, and no more found than asked")
    total = float(all_asked.sum())
    share = float(right.sum()) / total
    alone = total if (all_asked == 1).all() else _alone(right, all_asked, share)
    rest = (1 - confidence) / 2
    low = 0.0 if share == 0 else float(special.betaincinv(share * alone, alone - share * alone + 1, rest))
    high = 1.0 if share == 1 else float(special.betaincinv(share * alone + 1, alone - share * alone, 1 - rest))
    return Share(share, low, high)


def score_interval(scores: NDArray[np.float64], measured_in: str | None = None) -> tuple[float, float] | None:
    """The interval of the mean of scores, one a case, which is that of a share where they say yes or no.

    It holds nothing that the mean of scores from 0 to 1 cannot be; those `measured_in` a unit have no bounds. None
    where all are alike.
    """
    found = mean_interval(scores)
    if found is None or measured_in is not None or scores.min() < 0 or scores.max() > 1:
        return found
    if np.isin(scores, (0, 1)).all():
        share = share_interval(scores.astype(int).tolist(), [1] * len(scores))
        return share.low, share.high
    return max(0.0, found[0]), min(1.0, found[1])


def _alone(right: np.ndarray, asked: np.ndarray, share: float) -> float:
    """How many independent answers say as much."""
    from scipy import special

    askings, total = len(asked), float(asked.sum())
    if askings == 1 or share in (0, 1):
        return float(askings)
    variance = askings / (askings - 1) * float(((right - share * asked) ** 2).sum()) / total**2
    unlike = share * (1 - share) / variance if variance else total
    freedom = (special.stdtrit(total - 1, 0.975) / special.stdtrit(askings - 1, 0.975)) ** 2
    return float(np.clip(unlike * freedom, 1.0, total))
