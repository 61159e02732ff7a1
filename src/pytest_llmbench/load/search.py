"""The search for capacity: which level to try next, with how many requests, and when to stop.

It gallops up from the lowest level, so that the server is never drowned, or from one that is said to matter, until a
level looks lost. From there each trial goes where one more answer tells most about the capacity given all trials so far
(Watson 2017, "QUEST+"), which is the edge, again and again. Only valid trials count, every one is in the journal before
the next begins, and a search that was killed goes on from there.
"""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.load.reasons import EndedBy
from pytest_llmbench.load.search_journal import InvalidTrial, SearchJournal
from pytest_llmbench.stats.capacity import Capacity, CapacityFit
from pytest_llmbench.stats.contradictions import Contradiction, contradiction
from pytest_llmbench.stats.observation import Observation

_DOUBLED_UP_TO = 8  # from here on the gallop is slower: twice the users of a full server drown it
_STRIDE = 1.5
_CANDIDATES = 12
_PORTIONS = 12  # trials that the budget makes
_TRIALS_NEAR = 4  # around the edge, before an estimate is believed
_VICINITY = 0.15
_ROOM = 0.05  # of the capacity, at least one user: the error that is taken for none
_LATE = 0.6  # of the budget: what is left is for levels whose answers do not yet speak for the fitted curve
_MOST_INVALID = 3

RunTrial = Callable[[int, int], Awaitable[Observation | InvalidTrial]]
"""Runs one trial: (level, requests to judge by). It raises when the server fails: nothing of that trial counts."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What is searched and what it may cost.

    Args:
        share: wanted share of good answers; for the strict preset 0.5, the share of trials that pass.
        highest: the highest level tried.
        budget: requests that may be sent, warm-up included.
        messages: least and most messages of a user in one trial, without warm-up. The same twice for the strict preset
            and for bursts, whose truth depends on it.
        confidence: the probability of being right, within one level or 5 %, at which the search stops early.
        users: how many there are at every level, where levels are something else; None where the level is their number.
        seconds: after which no further trial begins, but the first; None for no limit.
        warm_up: messages that each user is taken to send before a trial counts.
        first: the level that is tried first.

    Raises:
        ValueError: the share is not between 0 and 1, or no level can be tried.
    """

    share: float = 0.95
    highest: int = 50
    budget: int = 2000
    messages: tuple[int, int] = (3, 10)
    confidence: float = 0.98
    users: int | None = None
    seconds: float | None = None
    warm_up: float = 1.0
    first: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.highest < 1 or not 1 <= self.messages[0] <= self.messages[1]:
            raise ValueError(f"nothing can be searched by {self}")

    def users_at(self, level: int) -> int:
        """How many send messages at a level: what a trial costs is theirs."""
        return self.users or level

    def affordable(self, level: int, left: int, seen: Sequence[Observation]) -> int:
        """The messages of each user that a trial at this level may judge, for so many requests.

        Where answers are quick and nobody cools down, a warm-up takes more messages than expected, as the last trial
        showed.
        """
        unjudged = [(one.cost - one.judged) / self.users_at(one.level) for one in seen[-1:] if one.judged]
        return math.floor(left / self.users_at(level) - max(self.warm_up, *unjudged, 0.0))


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """Told after each trial: its level, the capacity as seen so far, requests spent and left.

    The capacity is that up to the highest level that was tried, as in `Found`.
    """

    trial: Observation | InvalidTrial
    capacity: Capacity
    sent: int
    left: int


@dataclass(frozen=True, slots=True)
class Found:
    """The result: `decided` where the confidence was reached, not only the budget spent, and no trial contradicts it.

    `capacity` claims nothing above the highest level of a valid trial. `trials` are the valid ones; `kept` are all as
    they were made.
    """

    capacity: Capacity
    ended_by: EndedBy
    sent: int
    kept: tuple[Observation | InvalidTrial, ...]
    decided: bool = field(init=False)
    contradiction: Contradiction | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "capacity", self.capacity.up_to(self.tried))
        object.__setattr__(self, "contradiction", contradiction(self.trials))
        object.__setattr__(self, "decided", self.ended_by == "confidence" and self.contradiction is None)

    @property
    def tried(self) -> int:
        """The highest level of a valid trial; 0 without one."""
        return _tested(self.trials)

    @property
    def trials(self) -> tuple[Observation, ...]:
        """The trials that say something about the server."""
        return tuple(trial for trial in self.kept if isinstance(trial, Observation))


async def find_capacity(
    run_trial: RunTrial,
    plan: SearchPlan,
    *,
    journal: Path | SearchJournal | None = None,
    identity: Mapping[str, Any] | None = None,
    progress: Callable[[SearchProgress], None] = lambda _: None,
) -> Found:
    """Search the most users for which the share holds.

    Args:
        run_trial: asks the server; awaited one at a time.
        plan: what is searched. With no budget left the trials of the journal are judged and nothing is asked.
        journal: where trials are kept; one that has some already is gone on from. An open one has its own identity.
        identity: all that trials depend on (server, model, SLO, habits of the users): a journal of others is refused.
        progress: called after each trial.

    Raises:
        UsageError: the journal is of another search, or broken.
        NotReadyError: no trial was valid, or several in a row were not, or the disk refuses.
    """
    kept = journal if isinstance(journal, SearchJournal) else open_journal(journal, plan, identity or {})
    fit, ends = CapacityFit(kept.observations, plan.share, plan.highest), _ends(plan)
    ended_by: EndedBy = "confidence"
    while not _is_decided(fit.capacity(), kept.observations, plan):
        level, wanted = _next_trial(fit, kept.observations, plan)
        messages = min(wanted, plan.affordable(level, plan.budget - kept.sent, kept.observations))
        if messages < plan.messages[0] or (kept.observations and time.monotonic() > ends):
            ended_by = "budget" if messages < plan.messages[0] else "time"
            break
        kept.add(await run_trial(level, messages * plan.users_at(level)))
        _refuse_invalid(kept.trials)
        fit = CapacityFit(kept.observations, plan.share, plan.highest)
        seen = fit.capacity().up_to(_tested(kept.observations))
        progress(SearchProgress(kept.trials[-1], seen, kept.sent, plan.budget - kept.sent))
    return _found(fit, kept, ended_by)


async def find_lost(
    run_trial: RunTrial, plan: SearchPlan, journal: SearchJournal, *, start: int, requests_at: Callable[[int], int]
) -> int:
    """The first level that is lost, doubling or halving from `start`, as far as one short look at each tells.

    It is the highest level where none is lost, 1 where all are. Half of the budget may be spent, and all of the time.
    The trials are in the journal, and those that are there already count; one that is finished says it again, for what
    follows rests on it. Raises as `find_capacity` does.
    """
    ends = _ends(plan)
    while True:
        level, is_settled = lost_so_far(journal.observations, plan, start)
        costly = journal.sent + requests_at(level) > plan.budget / 2 or time.monotonic() > ends
        if is_settled or (journal.observations and (journal.finished or costly)):
            return level
        journal.add(await run_trial(level, requests_at(level)))
        _refuse_invalid(journal.trials)


def lost_so_far(seen: Sequence[Observation], plan: SearchPlan, start: int) -> tuple[int, bool]:
    """The first level that is lost and whether these looks settle it; where they do not, it is the next to look at."""
    kept = [(one.level, one.good >= plan.share * one.total) for one in seen]
    held = max((level for level, good in kept if good), default=0)
    lost = min((level for level, good in kept if not good), default=None)
    if held == plan.highest or lost == 1 or (lost is not None and held >= lost // 2):
        return lost or plan.highest, True
    return (lost // 2 if lost else min(plan.highest, max(start, 2 * held))), False


def open_journal(
    path: Path | None, plan: SearchPlan, identity: Mapping[str, Any], called: Mapping[str, str] | None = None
) -> SearchJournal:
    """The journal of a search by this plan; `called` as `SearchJournal` takes it. Raises as `find_capacity` does.

    How high and how long is searched is not what a trial depends on: a search that met its cap goes on with another,
    where what a step means does not follow from it and so is no part of the identity.
    """
    return SearchJournal(path, {"share": plan.share, **identity}, called)


def _next_trial(fit: CapacityFit, seen: Sequence[Observation], plan: SearchPlan) -> tuple[int, int]:
    """The level and the messages of each user: short looks on the way up, then thorough ones where they tell most."""
    capacity, tested = fit.by_shape(), _tested(seen)
    reach = min(plan.highest, _reach(tested) if seen else max(1, plan.first))
    least, most = plan.messages
    if tested < plan.highest and capacity.chance_of(tested + 1) > 1 / 2:
        return reach, least
    late = sum(one.cost for one in seen) > _LATE * plan.budget
    if not fit.believed and (late or _is_decided(capacity, seen, plan)):
        return _unclear(fit.capacity(), seen, reach), most
    first, last = max(1, capacity.low), min(reach, capacity.high + 1)
    step = max(1, math.ceil((last - first + 1) / _CANDIDATES))
    level = max(range(first, last + 1, step), key=fit.information)
    return level, min(most, max(least, math.ceil(plan.budget / _PORTIONS / plan.users_at(level))))


def _unclear(capacity: Capacity, seen: Sequence[Observation], reach: int) -> int:
    """Where it tells most when the curve may fall in any way: around the edge, where fewest answers are known."""
    answers = collections.Counter[int]()
    for one in seen:
        answers[one.level] += one.total
    between = (capacity.low + 1 + capacity.users) // 2
    near = {min(reach, max(1, level)) for level in (between, capacity.users, capacity.users + 1)}
    return min(sorted(near), key=lambda level: answers[level])


def _ends(plan: SearchPlan) -> float:
    """The moment after which no trial begins."""
    return math.inf if plan.seconds is None else time.monotonic() + plan.seconds


def _tested(seen: Sequence[Observation]) -> int:
    """The highest level that was tried."""
    return max((one.level for one in seen), default=0)


def _reach(tested: int) -> int:
    """The highest level that may come after this one."""
    return max(1, 2 * tested if tested < _DOUBLED_UP_TO else math.ceil(tested * _STRIDE))


def _is_decided(capacity: Capacity, seen: Sequence[Observation], plan: SearchPlan) -> bool:
    """Sure enough, and from several trials around the edge, on both sides of it."""
    room = max(1, math.floor(_ROOM * capacity.users))
    near = [one.level for one in seen if abs(one.level - capacity.users) <= max(1, _VICINITY * capacity.users)]
    both_sides = capacity.users == plan.highest or max(near, default=0) > capacity.users
    return both_sides and len(near) >= _TRIALS_NEAR and capacity.chance_within(room) >= plan.confidence


def _found(fit: CapacityFit, kept: SearchJournal, ended_by: EndedBy) -> Found:
    if not kept.observations:
        raise NotReadyError("no trial was valid, so nothing is known of the server; allow more requests for a search")
    levels = range(1, _tested(kept.observations) + 1)
    return Found(fit.capacity(levels), ended_by, kept.sent, tuple(kept.trials))


def _refuse_invalid(trials: Sequence[Observation | InvalidTrial]) -> None:
    last = [trial for trial in trials[-_MOST_INVALID:] if isinstance(trial, InvalidTrial) and not trial.mended]
    if len(last) == _MOST_INVALID:
        level, reason = last[-1].detail.get("level", last[-1].level), last[-1].reason  # what the step stands for
        raise NotReadyError(f"{_MOST_INVALID} trials in a row were invalid, the last at level {level:g}: {reason}")
