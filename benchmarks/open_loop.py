"""A server that people ask at random and without waiting for each other: simulated trials, and the true rate."""

from __future__ import annotations

import asyncio
import functools
import heapq
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_llmbench.autotune import questions
from pytest_llmbench.autotune.findings import Finding, finding
from pytest_llmbench.autotune.questions import Question
from pytest_llmbench.autotune.trial_summary import trial_summary
from pytest_llmbench.autotune.trials import observation
from pytest_llmbench.core.settings import LoadSettings, Settings
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import SLO, Request, Trial
from pytest_llmbench.load.search import RunTrial, find_capacity, find_lost, open_journal
from pytest_llmbench.load.search_journal import InvalidTrial
from pytest_llmbench.load.sequential_test import FEWEST_ANSWERS, decision, design_effect
from pytest_llmbench.load.trial import TrialLimits
from pytest_llmbench.stats.observation import Observation

Floats = NDArray[np.float64]

FIRST_RATE = 16  # of the 1024 steps to the highest one, as in `autotune/server.py`
_EVERY = 8
_TRUTH = 400_000  # answers
_TRUTH_SEED = 20_250_102


@dataclass(frozen=True)
class OpenServer:
    """So many answers at a time, of lognormal lengths with this coefficient of variation; the promise is on the end."""

    name: str
    slots: int
    service_s: float
    noise: float
    slo: SLO
    highest: float
    budget: int

    @property
    def most(self) -> float:
        """Requests a second that it can serve at all."""
        return self.slots / self.service_s


def servers() -> list[OpenServer]:
    """Small and large ones, with regular and irregular answers, each with the default budget and a larger one."""
    slo = SLO(0.95, 1.5)
    return [
        OpenServer(f"{slots} slots, noise {noise:.0%}, budget {budget:,}", slots, 0.3, noise, slo, highest, budget)
        for slots, highest in ((2, 50.0), (36, 400.0))
        for noise in (0.1, 0.8)
        for budget in (2000, 6000)
    ]


def served(server: OpenServer, rate: float, count: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """(requests,) when they came, and when they were answered, first come first served from an empty server."""
    sigma = math.sqrt(math.log1p(server.noise**2))
    came = np.cumsum(random.exponential(1 / rate, count))
    lengths = server.service_s * np.exp(random.normal(-(sigma**2) / 2, sigma, count))
    free, ends = [0.0] * server.slots, np.empty(count)
    for place, (at, length) in enumerate(zip(came.tolist(), lengths.tolist(), strict=True)):
        ends[place] = max(at, free[0]) + length
        heapq.heapreplace(free, ends[place])
    return came, ends


@functools.cache
def true_rate(slots: int, service_s: float, noise: float, slo: SLO) -> float:
    """The rate at which the promised share of answers is in time in the long run, by bisection."""
    server = OpenServer("", slots, service_s, noise, slo, 0.0, 0)
    low, high = 0.5 * server.most, server.most
    while high - low > 0.004 * server.most:
        rate = (low + high) / 2
        came, ends = served(server, rate, _TRUTH, np.random.default_rng(_TRUTH_SEED))
        low, high = (rate, high) if np.mean(ends - came <= slo.limit_s) >= slo.quantile else (low, rate)
    return low


def search(server: OpenServer, random: np.random.Generator) -> Finding:
    """As `ServerUnderTest.max_rate`."""
    load = LoadSettings(
        latency=server.slo.limit_s, quantile=server.slo.quantile, max_rate=server.highest, budget=server.budget
    )
    settings = Settings(load=load)
    span = questions.rate_range(settings)
    journal = open_journal(None, span.plan, {})
    looks = find_lost(
        _trials(server, span, random),
        span.plan,
        journal,
        start=FIRST_RATE,
        requests_at=lambda step: questions.requests_of_a_look(settings, span.level(step)),
    )
    lost = asyncio.run(looks)
    question = questions.rate(settings, span.level(lost))
    known, spent = questions.rescaled(journal.observations, lost, question), journal.sent
    spent -= sum(trial.cost for trial in known)
    question = question.with_less(spent)
    kept = open_journal(None, question.plan, {})
    for trial in known:
        kept.add(trial)
    found = asyncio.run(find_capacity(_trials(server, question, random), question.plan, journal=kept))
    return finding(question, found, server.slo, required=None, resumed=0, spent=spent)


def _trials(server: OpenServer, question: Question, random: np.random.Generator) -> RunTrial:
    async def run(step: int, requests: int) -> Observation | InvalidTrial:
        trial = _trial(server, question, step, requests, random)
        entry = trial_summary(trial, server.slo, level=question.level(step), started_s=0.0)
        return observation(trial, server.slo, step, entry)

    return run


def _trial(server: OpenServer, question: Question, step: int, requests: int, random: np.random.Generator) -> Trial:
    """Ends when the share is surely too low, else when all are judged; what is open then is cut off."""
    rate, warm_up_s = question.level(step), question.warm_up_s or 0.0
    came, ends = served(server, rate, requests + math.ceil(2 * warm_up_s * rate) + 20, random)
    first = int(np.searchsorted(came, warm_up_s))
    came, ends, before = came[first : first + requests], ends[first : first + requests], first
    good = ends - came <= server.slo.limit_s
    judged = _judged(good, server.slo)
    over_s = float(np.max(np.minimum(ends, came + server.slo.limit_s)[:judged]))
    rows = tuple(
        _request(user, at, min(end, over_s), done=end <= over_s)
        for user, (at, end) in enumerate(zip(came[:judged].tolist(), ends[:judged].tolist(), strict=True))
    )
    sent = before + int(np.searchsorted(came, over_s))
    return Trial(rate, rows, "undecided", Reason("time_over"), over_s, 0.0, 0.0, 0.0, max(sent, judged))


def _judged(good: NDArray[np.bool_], slo: SLO) -> int:
    block = 8
    for count in range(FEWEST_ANSWERS, len(good), _EVERY):
        some = good[:count].tolist()
        alike = design_effect(some, [place // block for place in range(count)])
        sure = decision(sum(some) / alike, (count - sum(some)) / alike, slo.quantile, TrialLimits().error_rate)
        if sure == "broken":
            return count
    return len(good)


def _request(user: int, at: float, end: float, *, done: bool) -> Request:
    finish: Literal["stop", "aborted"] = "stop" if done else "aborted"
    return Request(user, 0, at, None, at, end, 8, tokens_counted=False, finish=finish, error=None, prompt_tokens=8)
