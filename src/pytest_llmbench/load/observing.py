"""Trials as the capacity search sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.search_journal import InvalidTrial
from pytest_llmbench.stats.observation import Observation


def observation(
    trial: Trial, slo: SLO, step: int | None = None, detail: Mapping[str, Any] | None = None
) -> Observation | InvalidTrial:
    """What a trial tells about the capacity, counted in whole users, or in the steps of whatever else was raised.

    Under a strict promise (quantile 1) the trial as a whole is one answer, since one late answer fails it. `detail` is
    kept with it.
    """
    level, kept = step or int(trial.level), detail or {}
    undecided = slo.quantile >= 1 and trial.verdict == "undecided"
    if trial.verdict == "invalid" or undecided or not trial.requests:
        return InvalidTrial(level, trial.reason, trial.sent, detail=kept, code=trial.why.code)
    if slo.quantile >= 1:
        return Observation(level, int(trial.verdict == "held"), 1, (), trial.sent, kept)
    groups = trial.groups(slo)
    good, total = sum(good for good, _ in groups), sum(total for _, total in groups)
    return Observation(level, good, total, groups, trial.sent, kept)
