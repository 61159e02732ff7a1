"""Statistics of paired scores: an interval, a one-sided test, a correction for many, and what more data would settle.

Both sides' answers to the same cases come in; what is tested is one change a unit: the mean after less the mean before
of a case, or of a group of cases that are alike. Units are what was sampled, so repeating a case makes its change more
precise and adds no unit. How many users a server holds is another matter: `stats.capacity`.
"""

from pytest_llmbench.stats.answers import SideScores
from pytest_llmbench.stats.intervals import CONFIDENCE, mean_interval
from pytest_llmbench.stats.multiple_testing import holm
from pytest_llmbench.stats.power import Kind
from pytest_llmbench.stats.significance import change_interval
from pytest_llmbench.stats.verdicts import Hypothesis, Outcome, Verdict, judge

__all__ = [
    "CONFIDENCE",
    "Hypothesis",
    "Kind",
    "Outcome",
    "SideScores",
    "Verdict",
    "change_interval",
    "holm",
    "judge",
    "mean_interval",
]
