"""Great losses that a sample may not have met with: of scores from 0 to 1, how rare they must be.

The variance of what was seen says nothing of them, and the normal distribution nothing of what is as rare as one case
in n.
"""

from __future__ import annotations


def p_unseen(mean: float, cases: int, null: float) -> float:
    """The chance that so many cases met with no greatest loss, were these so frequent that the mean is `null`.

    The rest of the cases are taken to be as those that were seen, which changed by `mean`:
    ((1 - margin) / (1 + mean))**n, and (1 - margin)**n where nothing changed.
    """
    if mean <= null:
        return 1.0
    return float(((1 + null) / (1 + mean)) ** cases) if null > -1 else 0.0


def seen_end(mean: float, cases: int, level: float) -> float:
    """The mean change down to which `p_unseen` exceeds the level."""
    return float((1 + mean) * level ** (1 / cases) - 1)
