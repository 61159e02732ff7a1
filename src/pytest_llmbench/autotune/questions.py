"""The questions about a server's limits: what is raised step by step, what a step means, what its search may cost.

Every question is the same search over whole steps. A level is what a step stands for: so many users, requests per
second, messages of history, or tokens of an answer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.generation.client.chat_request import with_token_limit
from pytest_llmbench.load.records import SLO
from pytest_llmbench.load.search import SearchPlan
from pytest_llmbench.load.users import Habits

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import LoadSettings, Settings
    from pytest_llmbench.load.trial import LoadTest
    from pytest_llmbench.stats.observation import Observation

Name = Literal["users", "rate", "history", "max_tokens"]
Unit = Literal["users", "requests/s", "messages", "tokens"]

_MESSAGES = (3, 10)  # least and most of a user in one trial
_FEWEST_REQUESTS = 12  # of a trial, where few users are held
_MOST_REQUESTS = 60
_TOKEN_STEPS = 32
_EDGE = 32  # steps up to the rate that was too much, so that a step is 3 % of it
_RISE = 1.5  # up to which multiple of that rate is searched
_RANGE = 1024  # times the lowest rate tried is the highest
_RATE_WARM_UP = 3  # limits that are not judged when people come at a rate
_RATE_SPANS = (3, 20, 120)  # limits that are judged: in a short look; in a trial, least and most
_RATE_TRIALS = 8  # that the budget should allow for, near the edge


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One axis that is searched: the level of a step is `scale * step + offset`.

    `held` users are there at every level, None where the level itself says how many come. `arrange` sets a load test
    up for a level.
    """

    name: Name
    unit: Unit
    plan: SearchPlan
    habits: Habits
    scale: float = 1
    offset: float = 0
    held: int | None = None
    warm_up_s: float | None = None
    arrange: Callable[[LoadTest, float], None] = lambda _load, _level: None

    def level(self, step: int) -> float:
        """What the step means; nothing is below 0, so that no step at all is 0 too."""
        level = max(0.0, self.scale * step + self.offset)
        return int(level) if level % 1 == 0 else round(level, 6)

    def with_less(self, spent: int, lasted_s: float = 0.0) -> Question:
        """The question, when so many requests of its budget are spent already, and so much of its time."""
        plan, seconds = self.plan, self.plan.seconds
        left_s = None if seconds is None else max(0.0, seconds - lasted_s)
        return dataclasses.replace(self, plan=dataclasses.replace(plan, budget=plan.budget - spent, seconds=left_s))

    def reaching(self, tried: int) -> Question:
        """The question, when so many steps were tried before: a lower cap does not undo them."""
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, highest=max(self.plan.highest, tried)))

    @property
    def highest(self) -> float:
        """The highest level that is tried."""
        return self.level(self.plan.highest)


def promise(load: LoadSettings) -> SLO:
    """The SLO of the settings."""
    return SLO(1.0 if load.quantile == "strict" else load.quantile, load.latency, load.measured)


def people(settings: Settings) -> Habits:
    """The users' habits of the settings."""
    load = settings.load
    return Habits(load.arrivals, load.messages, load.history, load.cooldown, load.jitter, settings.generation.seed)


def users(settings: Settings, first: int = 1) -> Question:
    """How many users are held; so many are tried `first`."""
    highest = max(settings.load.max_users, settings.load.require_users or 1)
    plan = dataclasses.replace(_plan(settings, highest), first=first)
    return Question("users", "users", plan, people(settings))


def history(settings: Settings, held: int) -> Question:
    """How many messages of history may be sent along, in pairs of question and answer; the first step is none."""
    plan = _plan(settings, settings.load.max_history // 2 + 1, held)
    return Question("history", "messages", plan, people(settings), 2, -2, held, arrange=_with_history)


def max_tokens(settings: Settings, held: int) -> Question:
    """How long answers may be, in steps of at most a 32nd of the longest: 16 tokens for the default 512."""
    longest = settings.load.max_tokens
    step = 2 ** math.ceil(math.log2(max(1, longest / _TOKEN_STEPS)))
    plan = _plan(settings, longest // step, held)
    return Question("max_tokens", "tokens", plan, people(settings), step, 0, held, arrange=_with_max_tokens)


def rate_range(settings: Settings) -> Question:
    """Rates from a thousandth of the highest to the highest, among which the range of the search is looked for."""
    return _rate(settings, settings.load.max_rate / _RANGE, _RANGE)


def requests_of_a_look(settings: Settings, rate: float) -> int:
    """How many requests a short look at a rate takes."""
    return max(_FEWEST_REQUESTS, math.ceil(_RATE_SPANS[0] * settings.load.latency * rate))


def rate(settings: Settings, too_much: float) -> Question:
    """How many requests a second are held, where `too_much` are about the first that are not.

    Trials are long, for a rate a little above what the server can do shows by a queue that grows slowly.
    """
    scale = too_much / _EDGE
    return _rate(settings, scale, math.floor(min(_RISE * _EDGE, settings.load.max_rate / scale)))


def rescaled(trials: Iterable[Observation], lost: int, question: Question) -> list[Observation]:
    """Of the short looks that led to step `lost` of the range, those that tell something, in steps of the search.

    That are the ones that were lost, and those far below; the others were too short to show a queue that grows.
    """
    found = []
    for trial in trials:
        step, rest = divmod(trial.level * _EDGE, lost)
        tells = trial.level <= lost // 4 or trial.good < question.plan.share * trial.total
        if tells and not rest and 1 <= step <= question.plan.highest:
            found.append(dataclasses.replace(trial, level=step))
    return found


def _rate(settings: Settings, scale: float, highest: int) -> Question:
    load = settings.load
    short, *spans = _RATE_SPANS
    come = load.latency * scale * _EDGE  # in the time that an answer may take, near the edge
    affordable = max(short, load.budget / _RATE_TRIALS / come - _RATE_WARM_UP)
    least, most = (math.ceil(min(affordable, span) * come / _EDGE) for span in spans)
    warm_up_s = _RATE_WARM_UP * load.latency
    plan = dataclasses.replace(_plan(settings, highest), messages=(least, most), warm_up=warm_up_s * scale)
    habits = dataclasses.replace(people(settings), arrivals="poisson")
    return Question("rate", "requests/s", plan, habits, scale, warm_up_s=warm_up_s)


def _plan(settings: Settings, highest: int, held: int | None = None) -> SearchPlan:
    load = settings.load
    strict = load.quantile == "strict"
    least, most = _MESSAGES
    if held is not None:
        least, most = (max(least, -(-_FEWEST_REQUESTS // held)), max(most, -(-_MOST_REQUESTS // held)))
    if strict or load.arrivals == "burst":
        least = most = load.messages
    share = 0.5 if load.quantile == "strict" else load.quantile
    return SearchPlan(share, highest, load.budget, (least, most), load.confidence, held, load.time_limit)


def _with_history(load: LoadTest, level: float) -> None:
    load.habits = dataclasses.replace(load.habits, history=int(level))
    load.conversations.past = int(level)


def _with_max_tokens(load: LoadTest, level: float) -> None:
    body = with_token_limit(load.server.body, int(level), unless="max_completion_tokens")
    load.server = dataclasses.replace(load.server, body=body)
