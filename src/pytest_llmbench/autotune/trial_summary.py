"""A trial in numbers, as reports and the journal keep it: its verdict, its latencies, and when each request ran."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pytest_llmbench.autotune.document import Asked, ClocksEntry, GpuGauges, Percentiles, ServerGauges, TrialEntry
from pytest_llmbench.load.records import SLO, Request, Trial
from pytest_llmbench.load.server_metrics import WatchSummary

MOST_ROWS = 2000
"""Requests whose times are kept for each trial."""

_ENOUGH_SERVED = 20  # answers, for a rate
_FIRST_AND_LAST = 20  # one of so many at either end is left out of a rate
_LATENCY = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
_GAP = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def trial_summary(
    trial: Trial, slo: SLO, *, level: float, started_s: float, watched: WatchSummary | None = None
) -> TrialEntry:
    """The entry of a trial. `watched` is what was seen of the server and the GPUs meanwhile."""
    asked = trial.requests
    finished = [request for request in asked if request.finish in ("stop", "length")]
    waited = [request for request in asked if not slo.failed(request) or request.latency_s > slo.limit_s]
    return TrialEntry(
        level=level,
        verdict=trial.verdict,
        reason=trial.reason,
        code=trial.why.code,
        values=dict(trial.why.values),
        good=sum(slo.good(request) for request in asked),
        total=len(asked),
        completed=len(finished),
        sent=trial.sent,
        started_s=round(started_s, 3),
        duration_s=round(trial.duration_s, 3),
        loop_lag_s=round(trial.loop_lag_s, 5),
        standstill_s=round(trial.standstill_s, 3),
        client_cpu=round(trial.client_cpu, 4),
        processes=trial.processes,
        clocks=None if trial.clocks is None else ClocksEntry(**dataclasses.asdict(trial.clocks)),
        idle_after_s=None if trial.idle_after_s is None else round(trial.idle_after_s, 3),
        latency_s=_percentiles([one.latency_s for one in waited], _LATENCY),
        first_token_s=_percentiles(_first_tokens(waited), _LATENCY),
        first_reasoning_s=_percentiles(_first_reasoning(waited), _LATENCY),
        gap_s=_percentiles([gap for request in finished for gap in request.gaps_s], _GAP),
        decode_tokens_per_s=_median(_decode_rates(finished)),
        prompt_tokens=_median(one.prompt_tokens for one in finished if one.prompt_tokens is not None),
        completion_tokens=_median(one.tokens for one in finished if one.tokens is not None),
        tokens_counted=any(request.tokens_counted for request in finished),
        cut_off=_share(request.finish == "length" for request in finished),
        errors=dict(Counter(str(request.error) for request in asked if slo.failed(request)).most_common()),
        server=ServerGauges.model_validate(watched["server"]) if watched and watched["server"] else None,
        gpu=GpuGauges.model_validate(watched["gpu"]) if watched and watched["gpu"] else None,
        requests=tuple(_row(request, slo) for request in thinned(asked)),
        requests_thinned=len(asked) > MOST_ROWS,
        left_open=sum(request.left_open for request in asked),
        served_per_s=_served_per_s([request.ended_s for request in finished]),
    )


def thinned(requests: Sequence[Request], most: int = MOST_ROWS) -> Sequence[Request]:
    """At most so many of them, evenly spread."""
    if len(requests) <= most:
        return requests
    return [requests[place * len(requests) // most] for place in range(most)]


def _row(request: Request, slo: SLO) -> Asked:
    first = None if request.first_token_s is None else round(request.first_token_s, 4)
    started, ended = round(request.started_s, 4), round(request.ended_s, 4)
    return Asked(request.user, started, first, ended, int(slo.good(request)), request.tokens)


def _first_tokens(requests: Sequence[Request]) -> list[float]:
    """Seconds from the question to its first token, or as long as it was waited for; none where nothing streams."""
    if all(request.first_token_s is None for request in requests):
        return []
    came = [(request, request.first_token_s) for request in requests]
    unfinished = ("aborted", "error")
    return [
        (request.ended_s if at is None else at) - request.started_s
        for request, at in came
        if at is not None or request.finish in unfinished
    ]


def _first_reasoning(requests: Iterable[Request]) -> list[float]:
    moments = ((request.first_reasoning_s, request.started_s) for request in requests)
    return [at - started for at, started in moments if at is not None]


def _decode_rates(requests: Iterable[Request]) -> Iterable[float]:
    """Tokens a second of each streamed answer, from its first token on."""
    for request in requests:
        starts = [at for at in (request.first_reasoning_s, request.first_token_s) if at is not None]
        if starts and request.tokens and request.tokens > 1 and request.ended_s > min(starts):
            yield (request.tokens - 1) / (request.ended_s - min(starts))


def _served_per_s(ends_s: Sequence[float]) -> float | None:
    """Answers a second from the first twentieth to the last: a few long answers at the end are no slow server."""
    few = len(ends_s) // _FIRST_AND_LAST
    ends = sorted(ends_s)[few : len(ends_s) - few] if len(ends_s) >= _ENOUGH_SERVED else ()
    span_s = ends[-1] - ends[0] if ends else 0.0
    return round((len(ends) - 1) / span_s, 4) if span_s else None


def _percentiles(values: Sequence[float], wanted: Mapping[str, float]) -> Percentiles | None:
    if not values:
        return None
    found = np.quantile(values, list(wanted.values()))
    return Percentiles(**{name: round(float(value), 5) for name, value in zip(wanted, found, strict=True)})


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return round(float(np.median(known)), 3) if known else None


def _share(answers: Iterable[bool]) -> float | None:
    known = list(answers)
    return round(sum(known) / len(known), 4) if known else None
