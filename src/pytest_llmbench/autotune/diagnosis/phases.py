"""What the answers of trials spent their time on: before the first token, and from token to token."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmbench.autotune.document import Asked, Finding, TrialEntry

_PATIENCE = 2.0  # times the first token of a server at rest: who has waited longer stands in line
_LEAST_IN_LINE = 0.6  # of the time, all slots must be taken while somebody waits


@dataclass(frozen=True, slots=True)
class Phases:
    """The typical answer of some trials of one level or of neighbours: medians in seconds.

    `token_s` is the time of each token after the first, as an answer has it on average; `gap_s` the median between
    two tokens and `gap_tail_s` its 99th percentile. None where it was not measured.
    """

    levels: tuple[float, ...]
    answers: int
    latency_s: float
    first_s: float | None
    token_s: float | None
    gap_s: float | None
    gap_tail_s: float | None
    tokens: float | None
    rate: float
    """Requests a second."""


def valid_trials(finding: Finding) -> list[TrialEntry]:
    """Trials that count, lowest level first."""
    return sorted((trial for trial in finding.valid_trials if trial.total), key=lambda trial: trial.level)


def asked(trials: Sequence[TrialEntry]) -> list[Asked]:
    """Their requests, one trial after the other."""
    return [row for trial in trials for row in trial.requests]


def late(trials: Sequence[TrialEntry], finding: Finding) -> list[Asked]:
    """The requests that went over the limit, not those that failed sooner."""
    limit_s, first = finding.slo.limit_s, finding.slo.latency == "first_token"
    rows = [row for row in asked(trials) if not row.good]
    return [row for row in rows if (row.wait_s if first else row.ended_s - row.started_s) > limit_s]


def phases(trials: Sequence[TrialEntry]) -> Phases:
    """The medians over all requests of the trials that did not fail at once."""
    rows = [row for row in asked(trials) if row.good or row.first_s is not None] or asked(trials)
    streamed = [row for row in rows if row.first_s is not None and row.first_s < row.ended_s]
    paces = [row.writing_s / (row.tokens - 1) for row in streamed if row.tokens and row.tokens > 1]
    tokens = [row.tokens for row in rows if row.tokens]
    return Phases(
        levels=tuple(sorted({trial.level for trial in trials})),
        answers=len(rows),
        latency_s=statistics.median(row.ended_s - row.started_s for row in rows),
        first_s=statistics.median(row.wait_s for row in asked(trials)) if streamed else None,
        token_s=_median(paces),
        gap_s=_median([trial.gap_s.p50 for trial in trials if trial.gap_s and trial.gap_s.p50 is not None]),
        gap_tail_s=_median([trial.gap_s.p99 for trial in trials if trial.gap_s and trial.gap_s.p99 is not None]),
        tokens=_median(tokens),
        rate=statistics.mean(map(_rate, trials)),
    )


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _rate(trial: TrialEntry) -> float:
    starts = [row.started_s for row in trial.requests]
    span = max(starts) - min(starts)
    return trial.total / span if span else 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """Whether requests stood in line: how many answers were written at a time meanwhile, and how many waited."""

    slots: int
    waiting: int
    steady: bool
    """All slots were taken nearly all the time that somebody waited."""


def line_of(trials: Sequence[TrialEntry], patience_s: float) -> Line | None:
    """The line as the client sees it; None where nobody waited, or where the requests are not all listed.

    Slots show as a number of answers written at once that is the same whenever somebody waits. The beginning and the
    end of a trial are left out: the requests of the warm-up and those cut off at the end are not listed.
    """
    lines = [found for trial in trials if not trial.requests_thinned and (found := _line(trial, patience_s))]
    if not lines:
        return None
    slots = Counter(found.slots for found in lines).most_common(1)[0][0]
    alike = all(abs(found.slots - slots) <= max(1, slots // 10) for found in lines)
    steady = alike and sum(found.steady for found in lines) * 2 > len(lines)
    return Line(slots, max(found.waiting for found in lines), steady)


def _line(trial: TrialEntry, patience_s: float) -> Line | None:
    rows = trial.requests
    begin, end = min(row.ended_s for row in rows), max(row.started_s for row in rows)
    changes = sorted(
        [(at, step, 0) for row in rows if row.first_s is not None for at, step in ((row.first_s, 1), (row.ended_s, -1))]
        + [(at, 0, step) for row in rows for at, step in _in_line(row, patience_s)]
    )
    time_at: dict[int, float] = defaultdict(float)
    writing = waiting = most_waiting = 0
    for (at, written, waited), (later, _, _) in itertools.pairwise(changes):
        writing, waiting = writing + written, waiting + waited
        most_waiting = max(most_waiting, waiting)
        if waiting and (length := min(later, end) - max(at, begin)) > 0:
            time_at[writing] += length
    total = sum(time_at.values())
    if not total:
        return None
    slots = max(count for count, seconds in time_at.items() if seconds >= total / 50)
    full = sum(seconds for count, seconds in time_at.items() if count >= slots - slots // 4)
    return Line(slots, most_waiting, slots > 0 and full >= _LEAST_IN_LINE * total)


def _in_line(row: Asked, patience_s: float) -> list[tuple[float, int]]:
    if row.wait_s <= _PATIENCE * patience_s:
        return []
    return [(row.started_s, 1), (row.started_s + row.wait_s, -1)]
