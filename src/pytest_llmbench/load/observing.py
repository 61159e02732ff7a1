"""Trials as the capacity search sees them."""

from __future__ import annotations

from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.search_journal import InvalidTrial
from pytest_llmbench.stats.capacity import Observation


def observation(trial: Trial, slo: SLO) -> Observation | InvalidTrial:
    """What a trial with a whole number of users tells about their capacity.

    Under a strict promise (quantile 1) the trial as a whole is one answer, since one late answer fails it.
    """
    level = int(trial.level)
    undecided = slo.quantile >= 1 and trial.verdict == "undecided"
    if trial.verdict == "invalid" or undecided or not trial.requests:
        return InvalidTrial(level, trial.reason, trial.sent)
    if slo.quantile >= 1:
        return Observation(level, int(trial.verdict == "held"), 1, (), trial.sent)
    groups = trial.groups(slo)
    return Observation(level, sum(good for good, _ in groups), sum(total for _, total in groups), groups, trial.sent)
