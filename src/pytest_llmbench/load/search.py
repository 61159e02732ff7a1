"""The search for capacity: which level to try next, with how many requests, and when to stop.

It gallops up from the lowest level, so that the server is never drowned, until a level looks lost. From there each
trial goes where one more answer tells most about the capacity given all trials so far (Watson 2017, "QUEST+"), which is
the edge, again and again. Only valid trials count, every one is in the journal before the next begins, and a search
that was killed goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmbench.errors import NotReadyError
from pytest_llmbench.load.search_journal import InvalidTrial, SearchJournal
from pytest_llmbench.stats.capacity import Capacity, CapacityFit, Observation

_DOUBLED_UP_TO = 8  # from here on the gallop is slower: twice the users of a full server drown it
_STRIDE = 1.5
_CANDIDATES = 12
_PORTIONS = 12  # trials that the budget makes
_TRIALS_NEAR = 4  # around the edge, before an estimate is believed
_VICINITY = 0.15
_ROOM = 0.05  # of the capacity, at least one user: the error that is taken for none
_MOST_INVALID = 3
_WARM_UP = 1  # messages of each user that a trial may send before it counts

RunTrial = Callable[[int, int], Awaitable[Observation | InvalidTrial]]
"""Runs one trial: (level, requests to judge by). It raises when the server fails: nothing of that trial counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is searched and what it may cost.

    Args:
        share: wanted share of good answers; for the strict preset 0.5, the share of trials that pass.
        highest: the most users tried.
        budget: requests that may be sent, warm-up included (which is taken for one message of each user).
        messages: least and most messages of a user in one trial, without warm-up. The same twice for the strict preset
            and for bursts, whose truth depends on it.
        confidence: the probability of being right, within one user or 5 %, at which the search stops early.

    Raises:
        ValueError: the share is not between 0 and 1, or no level can be tried.
    """

    share: float = 0.95
    highest: int = 50
    budget: int = 2000
    messages: tuple[int, int] = (3, 10)
    confidence: float = 0.98

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.highest < 1 or not 1 <= self.messages[0] <= self.messages[1]:
            raise ValueError(f"nothing can be searched by {self}")


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after each trial: its level, the capacity as seen so far, requests spent and left."""

    trial: Observation | InvalidTrial
    capacity: Capacity
    sent: int
    left: int


@dataclass(frozen=True, slots=True)
class Found:
    """The result: `decided` where the confidence was reached, not only the budget spent."""

    capacity: Capacity
    decided: bool
    trials: tuple[Observation, ...]
    sent: int
    invalid: tuple[InvalidTrial, ...]


async def find_capacity(
    run_trial: RunTrial,
    plan: Plan,
    *,
    journal: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Found:
    """Search the most users for which the share holds.

    Args:
        run_trial: asks the server; awaited one at a time.
        plan: what is searched. With no budget left the trials of the journal are judged and nothing is asked.
        journal: where trials are kept; one that has some already is gone on from.
        identity: all that trials depend on (server, model, SLO, habits of the users): a journal of others is refused.
        progress: called after each trial.

    Raises:
        UsageError: the journal is of another search, or broken.
        NotReadyError: no trial was valid, or several in a row were not, or the disk refuses.
    """
    kept = SearchJournal(journal, {"share": plan.share, "highest": plan.highest, **(identity or {})})
    fit = CapacityFit(kept.observations, plan.share, plan.highest)
    while not (decided := _is_decided(fit.capacity(), kept.observations, plan)):
        level, wanted = _next_trial(fit, kept.observations, plan)
        messages = min(wanted, (plan.budget - kept.sent) // level - _WARM_UP)
        if messages < plan.messages[0]:
            break
        kept.add(await run_trial(level, messages * level))
        _refuse_invalid(kept.trials)
        fit = CapacityFit(kept.observations, plan.share, plan.highest)
        progress(Progress(kept.trials[-1], fit.capacity(), kept.sent, plan.budget - kept.sent))
    return _found(fit, kept, decided=decided)


def _next_trial(fit: CapacityFit, seen: Sequence[Observation], plan: Plan) -> tuple[int, int]:
    """The level and the messages of each user: short looks on the way up, then thorough ones where they tell most."""
    capacity, tested = fit.capacity(), max((one.level for one in seen), default=0)
    reach = min(plan.highest, _reach(tested))
    least, most = plan.messages
    if tested < plan.highest and capacity.chance_of(tested + 1) > 1 / 2:
        return reach, least
    first, last = max(1, capacity.low), min(reach, capacity.high + 1)
    step = max(1, math.ceil((last - first + 1) / _CANDIDATES))
    level = max(range(first, last + 1, step), key=fit.information)
    return level, min(most, max(least, math.ceil(plan.budget / _PORTIONS / level)))


def _reach(tested: int) -> int:
    """The highest level that may come after this one."""
    return max(1, 2 * tested if tested < _DOUBLED_UP_TO else math.ceil(tested * _STRIDE))


def _is_decided(capacity: Capacity, seen: Sequence[Observation], plan: Plan) -> bool:
    """Sure enough, and from several trials around the edge, on both sides of it."""
    room = max(1, math.floor(_ROOM * capacity.users))
    near = [one.level for one in seen if abs(one.level - capacity.users) <= max(1, _VICINITY * capacity.users)]
    both_sides = capacity.users == plan.highest or max(near, default=0) > capacity.users
    return both_sides and len(near) >= _TRIALS_NEAR and capacity.chance_within(room) >= plan.confidence


def _found(fit: CapacityFit, kept: SearchJournal, *, decided: bool) -> Found:
    if not kept.observations:
        raise NotReadyError("no trial was valid, so nothing is known of the server; allow more requests for a search")
    levels = range(1, max(trial.level for trial in kept.observations) + 1)
    invalid = tuple(trial for trial in kept.trials if isinstance(trial, InvalidTrial))
    return Found(fit.capacity(levels), decided, tuple(kept.observations), kept.sent, invalid)


def _refuse_invalid(trials: Sequence[Observation | InvalidTrial]) -> None:
    last = [trial for trial in trials[-_MOST_INVALID:] if isinstance(trial, InvalidTrial)]
    if len(last) == _MOST_INVALID:
        level, reason = last[-1].level, last[-1].reason
        raise NotReadyError(f"{_MOST_INVALID} trials in a row were invalid, the last with {level} users: {reason}")
