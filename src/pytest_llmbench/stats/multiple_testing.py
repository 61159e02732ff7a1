"""The correction for many hypotheses at once: Holm's."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Holm-adjusted p-values, in the order given: rejecting those up to alpha errs, in any of them, at most alpha.

    Weights (equal when None) say how the error is shared to begin with: a hypothesis of weight 9 among ones of weight 1
    is first tested at nine times their level. What a rejected hypothesis had goes to the others (Holm 1979, section 4).

    Raises:
        ValueError: a weight is not positive.
    """
    shares = list(weights) if weights is not None else [1.0] * len(p_values)
    if any(share <= 0 for share in shares):
        raise ValueError("weights must be positive")
    adjusted = [1.0] * len(p_values)
    left, highest = sum(shares), 0.0
    for index in sorted(range(len(p_values)), key=lambda index: p_values[index] / shares[index]):
        rise = max(1.0, left / shares[index])  # the last one's is 1, but for rounding
        highest = max(highest, min(1.0, p_values[index] * rise))
        adjusted[index] = highest
        left -= shares[index]
    return adjusted
