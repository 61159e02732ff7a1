"""The numbers behind the drawings, the same for figure and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmbench.autotune.diagnosis.phases import valid_trials
from pytest_llmbench.autotune.document import Asked, Finding, GridMean, TemperatureGrid, TrialEntry
from pytest_llmbench.reports.serving.answers import finding_outcome

PERCENTILES = (50, 90, 95, 99)
OUTCOMES = ("good", "late", "failed")
MOST_DOTS = 6000


@dataclass(frozen=True, slots=True)
class Dot:
    """One request: when it was sent since the search began, how long it took, what came of it."""

    at_s: float
    latency_s: float
    outcome: str


def judged_s(row: Asked, finding: Finding) -> float:
    """The seconds that the limit is for."""
    first = finding.slo.latency == "first_token" and row.first_s is not None
    return row.wait_s if first else row.ended_s - row.started_s


def latencies(finding: Finding) -> dict[float, list[float]]:
    """The percentiles of all valid trials of each level together. Requests that failed at once are left out."""
    import numpy as np

    by_level: dict[float, list[float]] = {}
    for trial in valid_trials(finding):
        rows = [row for row in trial.requests if finding_outcome(row, finding) != "failed"]
        by_level.setdefault(trial.level, []).extend(judged_s(row, finding) for row in rows)
    return {
        level: [float(value) for value in np.percentile(values, PERCENTILES)]
        for level, values in by_level.items()
        if values
    }


def dots(finding: Finding, most: int = MOST_DOTS) -> list[Dot]:
    """Requests of all trials in the order of the search; of very many every n-th good one."""
    found = [
        Dot(trial.started_s + row.started_s, judged_s(row, finding), finding_outcome(row, finding))
        for trial in finding.trials
        for row in trial.requests
    ]
    step = -(-len(found) // most) if found else 1
    return [dot for place, dot in enumerate(found) if dot.outcome != "good" or place % step == 0]


def point_share(finding: Finding, trial: TrialEntry) -> float:
    """Where a trial lies beside the curve."""
    return float(trial.verdict == "held") if finding.slo.is_strict else trial.good / trial.total


def reach_of(finding: Finding) -> tuple[float, float]:
    """The levels that a drawing shows: those tried, and the interval."""
    levels = [trial.level for trial in valid_trials(finding)] or [finding.low]
    return min([finding.low, *levels]), max([*levels, min(finding.high, 1.5 * max(levels))])


def groups_of(grid: TemperatureGrid) -> list[list[str]]:
    """The grid's metrics between 0 and 1, which share an axis, then each other; what was never scored is left out."""
    scored = {
        metric: [value for point in grid.points for value in _ends(point.scores.get(metric))] for metric in grid.metrics
    }
    known = {metric: values for metric, values in scored.items() if values}
    shared = [metric for metric, values in known.items() if min(values) >= 0 and max(values) <= 1]
    return ([shared] if shared else []) + [[metric] for metric in known if metric not in shared]


def _ends(score: GridMean | None) -> Sequence[float]:
    return [] if score is None else [value for value in (score.low, score.mean, score.high) if value is not None]
