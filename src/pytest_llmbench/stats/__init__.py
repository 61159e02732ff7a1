"""Statistics of paired scores: an interval, a one-sided test, a correction for many, and what more data would settle.

All of it works on one array of differences, one number a case: the mean over the case's epochs of (after - before).
Cases are the unit that was sampled, so repeating a case makes its difference more precise and adds no case. How
many users a server holds is another matter: `stats.capacity`.
"""

from pytest_llmbench.stats.families import holm
from pytest_llmbench.stats.intervals import CONFIDENCE, mean_interval
from pytest_llmbench.stats.verdicts import Hypothesis, Kind, Outcome, Verdict, judge

__all__ = ["CONFIDENCE", "Hypothesis", "Kind", "Outcome", "Verdict", "holm", "judge", "mean_interval"]
