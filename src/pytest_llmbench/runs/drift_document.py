"""What `llmbench monitor` tells of many runs and one baseline, as typed models."""

from __future__ import annotations

from pydantic import Field

from pytest_llmbench.runs.typed import TypedDocument


class DriftPoint(TypedDocument):
    """The mean of all runs up to one, less the baseline's, with bounds that hold at every look."""

    run: str
    effect: float
    low: float
    high: float


class DriftSeries(TypedDocument):
    """The drift of a metric of a variant, run by run; `alarm` is the first run that is surely worse.

    `left_out` has the runs that are in no point of it, with the reason.
    """

    variant: str
    metric: str
    margin: float = 0.0
    cases: int
    before: float
    alarm: str | None
    points: tuple[DriftPoint, ...]
    left_out: dict[str, str] = Field(default_factory=dict)


class WatchedRun(TypedDocument):
    """One of the runs, with the reason where it could not be held against the baseline."""

    run: str
    timestamp: str | None
    not_comparable: str | None


class UnwatchedMetric(TypedDocument):
    """A metric of a variant whose drift cannot be told, and why."""

    variant: str
    metric: str
    reason: str


class Monitored(TypedDocument):
    """What `llmbench monitor --json` tells: the drift from a fixed baseline."""

    baseline: str
    alpha: float
    runs: tuple[WatchedRun, ...]
    series: tuple[DriftSeries, ...]
    unwatched: tuple[UnwatchedMetric, ...] = ()


class NoBand(TypedDocument):
    """Why a trend has no bounds of a drift.

    `count` runs were made since the baseline, which only `llmbench monitor` reads all; None where they cannot be
    watched, and it says why.
    """

    baseline: str
    count: int | None = None
