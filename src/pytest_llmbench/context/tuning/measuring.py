"""How many users a server holds that was just started: a short capacity search, ended where it is surely no winner."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_llmbench.autotune.server import ServerUnderTest, Target
from pytest_llmbench.stats.observation import Observation

if TYPE_CHECKING:
    from pytest_llmbench.autotune.progress_events import Look
    from pytest_llmbench.context.tuning.launching import Launched
    from pytest_llmbench.core.setting_sections import Settings
    from pytest_llmbench.load.search import SearchProgress
    from pytest_llmbench.stats.capacity import Capacity

HOPELESS = 0.05
"""The probability of holding as many as the best so far, at which a search ends: more answers would not change it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What a search came to: the users held with their 95 % interval, and the mean and deviation of what is probable.

    The mean tells settings apart that hold the same whole number of users. `more` says that `users` stands for that or
    more, `stopped` that the search ended early since the server surely holds fewer than the best so far.
    """

    users: int
    low: int
    high: int
    mean: float
    deviation: float
    more: bool
    decided: bool
    stopped: bool
    sent: int
    seconds: float


class Measure(Protocol):
    """Measures a server."""

    def __call__(self, server: Launched, name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
        """How many users it holds. It goes by `name` in progress lines.

        So many are tried `first`. The search ends early once it is sure that fewer than `bar` are held.

        Raises:
            NotReadyError: the server or the load generator failed.
        """


class CapacityMeasure:
    """The search of `llmbench autotune` with the budget of a trial; no server is asked more than its time."""

    def __init__(self, settings: Settings, tell: Callable[[str, bool], None]) -> None:
        tune = settings.tune
        limits = {"budget": tune.budget, "time_limit": tune.trial_time, "require_users": None, "targets": ()}
        self._settings = settings.model_copy(update={"load": settings.load.model_copy(update=limits)})
        self._tell = tell

    def __call__(self, server: Launched, name: str, /, *, first: int = 1, bar: int | None = None) -> Measured:
        """See `Measure`."""
        return asyncio.run(self._searched(server, name, first, bar))

    async def _searched(self, server: Launched, name: str, first: int, bar: int | None) -> Measured:
        seen: list[SearchProgress] = []
        begun, decided = time.monotonic(), False

        def look(look: Look) -> None:
            parts = (name, f"at {look.level:g}: {look.verdict}", look.estimate)
            self._tell(" | ".join(filter(None, parts)), False)  # noqa: FBT003  # as `Tell` has it

        def judge(step: SearchProgress) -> None:
            seen.append(step)
            valid = [one.trial.level for one in seen if isinstance(one.trial, Observation)]
            if surely_below(bar, step.capacity, max(valid, default=0)):
                raise _SurelyWorseError

        with tempfile.TemporaryDirectory() as folder:
            asked = ServerUnderTest(
                self._settings,
                Target(server.url, self._settings.server.model),
                folder=Path(folder),
                progress=look,
                after_trial=judge,
                has_ended=lambda: server.why_gone() is not None,
            )
            stopped = False
            async with asked as under_test:
                try:
                    decided = (await under_test.max_users(first)).decided
                except _SurelyWorseError:
                    stopped = True
        last = seen[-1]
        return measured(
            last.capacity, sent=last.sent, seconds=time.monotonic() - begun, decided=decided, stopped=stopped
        )


def measured(capacity: Capacity, *, sent: int, seconds: float, decided: bool, stopped: bool) -> Measured:
    """What a posterior of the capacity says."""
    mean = sum(users * chance for users, chance in enumerate(capacity.chances))
    variance = sum((users - mean) ** 2 * chance for users, chance in enumerate(capacity.chances))
    return Measured(
        users=capacity.users,
        low=capacity.low,
        high=capacity.high,
        mean=mean,
        deviation=variance**0.5,
        more=capacity.more,
        decided=decided,
        stopped=stopped,
        sent=sent,
        seconds=seconds,
    )


def surely_below(bar: int | None, capacity: Capacity, tried: int) -> bool:
    """Whether so many are surely not held. Nothing is known of levels above the highest of a valid trial, `tried`."""
    return bar is not None and capacity.chance_of(min(bar, tried)) < HOPELESS


class _SurelyWorseError(Exception):
    """Ends a search from within."""
