"""Categories that seem to have got worse although too few cases can prove it: no gate passes over them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pytest_llmbench.stats import Hypothesis, Kind, Outcome, Verdict, judge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DOUBT = 0.2
"""The level of a category's own test, uncorrected, at which it is in doubt.

The error of the other kind that a plan with a power of 80 % accepts. At alpha four of four cases that fell would not
count, since no test of four cases reaches it; taking every fall beyond the margin would leave hardly a pass where
categories are small.
"""


def in_doubt(gains: NDArray[np.float64], hypothesis: Hypothesis, verdict: Verdict, kind: Kind) -> bool:
    """Whether a category fell by more than its margin, in what was seen and, at level `DOUBT`, beyond chance.

    `gains` has one number a case, positive for better. Where every one of several cases fell, no test is asked. A
    comparison has no margin. What failed is in no doubt.
    """
    margin = 0.0 if kind == "compare" else hypothesis.margin
    if verdict.outcome is Outcome.FAIL or verdict.effect >= -margin:
        return False
    if len(gains) > 1 and (gains < -margin).all():
        return True
    if kind != "regression":  # its p-value is not of a fall
        (verdict,) = judge([dataclasses.replace(hypothesis, margin=margin)], "regression", DOUBT)
    return verdict.p_value <= DOUBT
