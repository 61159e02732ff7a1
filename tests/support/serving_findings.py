"""Findings of capacity searches in the form that the reports take, from real trials or from a queue on paper."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence
from typing import Any

from pytest_llmbench.autotune.document import Finding
from pytest_llmbench.autotune.trial_summary import trial_summary
from pytest_llmbench.autotune.trials import observation
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Request, Trial
from pytest_llmbench.stats.capacity import CapacityFit
from pytest_llmbench.stats.observation import Observation

Json = dict[str, Any]
UNITS = {"users": "users", "rate": "requests/s", "history": "messages", "max_tokens": "tokens"}
HABITS = {"arrivals": "staggered", "messages": 3, "history": 4, "cooldown_s": 10.0, "jitter": 0.2, "seed": 42}


def finding(
    trials: Sequence[Trial],
    slo: SLO,
    highest: int,
    *,
    levels: Sequence[int] | None = None,
    scale: float = 1,
    **changed: Any,
) -> Json:
    """What is known after these trials. `levels` are the steps they stand for when these are not users."""
    steps = levels or [int(trial.level) for trial in trials]
    seen = [
        dataclasses.replace(one, level=step)
        for trial, step in zip(trials, steps, strict=True)
        if isinstance(one := observation(trial, slo), Observation)
    ]
    share = 0.5 if slo.quantile >= 1 else slo.quantile
    capacity = CapacityFit(seen, share, highest).capacity(range(1, max(one.level for one in seen) + 1))
    began = itertools.accumulate((trial.duration_s + 0.5 for trial in trials), initial=0.0)
    found = {
        "question": "users",
        "value": capacity.users * scale,
        "low": capacity.low * scale,
        "high": capacity.high * scale,
        "held": capacity.users > 0,
        "decided": capacity.chance_within(1) > 0.95,
        "highest": highest * scale,
        "capped": capacity.users == highest,
        "wanted_share": share,
        "lapse": round(capacity.lapse, 4),
        "chances": {f"{users * scale:g}": round(p, 4) for users, p in enumerate(capacity.chances) if p > 0.0005},
        "curve": [
            {
                "level": one.level * scale,
                "share": round(one.share, 4),
                "low": round(one.low, 4),
                "high": round(one.high, 4),
            }
            for one in capacity.curve
        ],
        "chance_required": None,
        "slo": {"quantile": slo.quantile, "limit_s": slo.limit_s, "latency": slo.latency},
        "users_held": None,
        "habits": HABITS,
        "cut_off": None,
        "cut_off_at_value": None,
        "trials": [
            trial_summary(trial, slo, level=step * scale, started_s=at).json_ready()
            for trial, step, at in zip(trials, steps, began, strict=False)
        ],
        "contradiction": None,
        "any_fall": False,
        "sent": sum(trial.sent for trial in trials),
        "duration_s": round(sum(trial.duration_s + 0.5 for trial in trials), 2),
        "resumed_trials": 0,
        "notes": [],
        **changed,
    }
    return {"unit": UNITS[found["question"]], **found}


def queued_trial(  # noqa: PLR0913  # all by name, and all with a default
    level: int,
    slo: SLO | None = None,
    *,
    slots: int = 4,
    tokens: int = 60,
    gap_s: float = 0.03,
    reading_s: float = 0.1,
    cooldown_s: float = 4.0,
    answers: int = 0,
    seed: int = 0,
    **changed: Any,
) -> Trial:
    """A trial on paper: so many users who take turns at the slots of a server that decodes at one speed for each."""
    slo, dice, requests = slo or SLO(0.95, 3.0), random.Random(seed), list[Request]()
    due = sorted((dice.uniform(0, cooldown_s), user) for user in range(level))
    free = [0.0] * slots
    while len(requests) < (answers or level * 8):
        started, user = due.pop(0)
        slot = min(range(slots), key=free.__getitem__)
        said = max(4, round(dice.gauss(tokens, tokens / 8)))
        first = max(started, free[slot]) + reading_s * dice.uniform(0.8, 1.2)
        free[slot] = ended = first + (said - 1) * gap_s
        gaps = (gap_s,) * (said - 1)
        answer: Any = {"tokens": said, "tokens_counted": False, "finish": "stop", "error": None, "prompt_tokens": 40}
        requests.append(Request(user, 0, started, None, first, ended, gaps_s=gaps, **answer))
        due = sorted([*due, (ended + cooldown_s * dice.uniform(0.8, 1.2), user)])
    good = sum(map(slo.good, requests)) / len(requests)
    strict = "held" if good >= 1 else "broken"
    verdict = (
        strict
        if slo.quantile >= 1
        else "held"
        if good > slo.quantile + 0.03
        else "broken"
        if good < slo.quantile - 0.1
        else "undecided"
    )
    counted = {"good": sum(map(slo.good, requests)), "judged": len(requests), "limit_s": slo.limit_s}
    why = Reason("not_sure", {**counted, "quantile": slo.quantile})
    ended = max(request.ended_s for request in requests)
    known = {
        "requests": tuple(requests),
        "verdict": verdict,
        "why": why,
        "sent": len(requests) + level,
        **changed,
    }
    return Trial(level=level, duration_s=ended, loop_lag_s=0.001, client_cpu=0.05, idle_after_s=0.1, **known)


LEVELS = (1, 2, 4, 8, 12, 18, 10, 11, 9, 12, 10, 11)


def users_finding(
    levels: Sequence[int] = LEVELS, highest: int = 50, *, slots: int = 4, slo: SLO | None = None, **changed: Any
) -> Json:
    """A search for users on paper, about 11 of them with four slots."""
    promise = slo or SLO(0.95, 3.0)
    trials = [queued_trial(level, promise, seed=place, slots=slots) for place, level in enumerate(levels)]
    return finding(trials, promise, highest, **changed)


def bare_trial(level: float = 1, good: int = 0, total: int = 0, **changed: Any) -> Json:
    """An entry of a trial that tells little."""
    unknown = (
        *("idle_after_s", "latency_s", "first_token_s", "gap_s", "decode_tokens_per_s", "prompt_tokens"),
        *("completion_tokens", "cut_off", "server", "gpu"),
    )
    known = {"verdict": "undecided", "reason": "", "sent": total, "started_s": 0.0, "duration_s": 9.0, "errors": {}}
    own = {"loop_lag_s": 0.0, "client_cpu": 0.0, "processes": 1, "tokens_counted": False, "requests": []}
    return {"level": level, "good": good, "total": total, **known, **own, **dict.fromkeys(unknown), **changed}


def bare_finding(value: float = 8, **changed: Any) -> Finding:
    """A decided finding on users that tells little."""
    known: Json = {"question": "users", "unit": "users", "value": value, "low": value - 1, "high": value + 1}
    known |= {"held": True, "decided": True, "highest": 50, "capped": False, "wanted_share": 0.95, "lapse": 0.0}
    known |= {"chances": {}, "curve": [], "chance_required": None, "users_held": None, "habits": HABITS, "trials": []}
    known |= {"cut_off": None, "cut_off_at_value": None, "sent": 77, "duration_s": 9.0, "resumed_trials": 0}
    known |= {"slo": {"quantile": 0.95, "limit_s": 3.0, "latency": "total"}, "notes": []}
    return Finding.model_validate(known | changed)
