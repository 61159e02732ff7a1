"""A server under load, one trial after another: raise a crowd, judge its answers, stop at once, wait until idle."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Self

from pytest_llmbench.errors import ServerError, UsageError
from pytest_llmbench.generation.chat_client import ChatClient
from pytest_llmbench.generation.served_models import Target, listed_models, with_models
from pytest_llmbench.load.client import AddressBook, ChatServer, UserConnection
from pytest_llmbench.load.conversations import Conversations
from pytest_llmbench.load.draining import IdleWatch
from pytest_llmbench.load.judging import Judge, Judgement
from pytest_llmbench.load.own_load import OwnLoad
from pytest_llmbench.load.records import SLO, Trial
from pytest_llmbench.load.users import Crowd, Habits
from pytest_llmbench.records import BASE

_OPEN_TIMEOUT_S = 10.0
_SERVER_FAULT = 500
_SPARE_FILES = 64
_MOST_CPU = 0.9


@dataclasses.dataclass(frozen=True, slots=True)
class TrialLimits:
    """When a trial ends, and when it does not count.

    error_rate: the chance of a wrong "held", and of a wrong "broken"; at 0 a trial never ends before its requests do.
    warm_up_s: seconds that are not judged; None for one cycle of the users (three limits with Poisson arrivals, and
        nothing with bursts, where every conversation begins alike).
    drain_s: how long a server may take to become idle.
    max_loop_lag_s: above this lag of the client's own event loop (95th percentile) the trial is invalid; None for 1 %
        of the SLO's limit, at least 10 ms.
    max_client_cpu: above this share of a core the client was the bottleneck, and the trial is invalid.
    """

    error_rate: float = 0.05
    warm_up_s: float | None = None
    drain_s: float = 60.0
    max_loop_lag_s: float | None = None
    max_client_cpu: float = _MOST_CPU


class LoadTest:
    """One server and how it is used. An async context manager: entering it checks that the server can be tested.

    Raises:
        ServerError: on entering, nobody answers, the key is refused, or the model is not served.
        UsageError: the SLO is for first tokens, and answers are not streamed.
    """

    def __init__(
        self,
        server: ChatServer,
        conversations: Conversations,
        habits: Habits | None = None,
        slo: SLO | None = None,
        limits: TrialLimits | None = None,
    ) -> None:
        self.habits, self.slo, self.limits = habits or Habits(), slo or SLO(), limits or TrialLimits()
        if self.slo.latency == "first_token" and not server.stream:
            raise UsageError("a limit on the first token needs streamed answers; stream, or limit the total latency")
        self.server = server
        self._conversations = conversations
        self._idle_s: float | None = None

    async def __aenter__(self) -> Self:
        headers = {**self.server.headers, "Connection": "close"}  # so that only users hold connections
        self._control = ChatClient(self.server.url, headers, 1, self.server.timeout_s, 0, self.server.tls)
        try:
            self.server = await self._checked()
            self._watch = await IdleWatch.of(self._control, self.server.body, _OPEN_TIMEOUT_S)
        except BaseException:
            await self._control.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._control.close()

    async def trial(self, level: float, requests: int) -> Trial:
        """Hold one level until its verdict is sure or so many requests were judged; the server is then idle again.

        A trial that proves nothing is "invalid" and says why: the client was too slow, the server went away, or was
        not idle to begin with.

        Raises:
            ServerError: the server refuses the questions themselves (its key, its model, their form).
            UsageError: there is no such level.
        """
        self._check_level(level, requests)
        started = time.monotonic()
        if self._idle_s is None and await self._watch.wait(self.limits.drain_s) is None:
            reason = f"the server was not idle after {self.limits.drain_s:g} s: it is gone, or somebody else uses it"
            return Trial(level, (), "invalid", reason, time.monotonic() - started, 0.0, 0.0)
        self._idle_s = None  # until it is proved again after this trial
        measured = await self._measure(level, requests)
        self._idle_s = await self._watch.wait(self.limits.drain_s)
        return dataclasses.replace(measured, idle_after_s=self._idle_s)

    async def _measure(self, level: float, requests: int) -> Trial:
        addresses = AddressBook()
        crowd = Crowd(lambda: UserConnection(self.server, addresses), self.habits, self._conversations, self._cycle_s())
        judge = Judge(self.slo, level, requests, self.limits.error_rate, self._warm_up_s())
        own, origin = OwnLoad(), time.monotonic()
        async with _meanwhile(own.watch()), _meanwhile(crowd.live(level)) as living:
            judgement = await self._decide(crowd, living, judge, origin, self._longest_s(level, requests))
            ended = time.monotonic()
            lag_s, cpu = own.lag_s, own.cpu
        if judgement.verdict != "invalid":
            judgement = self._own_fault(lag_s, cpu) or judgement
        return Trial(
            level=level,
            requests=judge.requests(origin, ended),
            verdict=judgement.verdict,
            reason=judgement.reason,
            duration_s=ended - origin,
            loop_lag_s=lag_s,
            client_cpu=cpu,
            sent=len(crowd.calls),
        )

    async def _decide(
        self, crowd: Crowd, living: asyncio.Task[None], judge: Judge, origin: float, longest_s: float
    ) -> Judgement:
        pause_s = min(0.05, max(0.002, self.slo.limit_s / 50))
        while not living.done():  # only a fault in the crowd itself ends it, and is raised where the crowd is left
            await asyncio.sleep(pause_s)
            now = time.monotonic()
            judgement = judge.look(crowd.calls, origin, now)
            if crowd.fatal:
                raise crowd.fatal
            if crowd.gone:
                return Judgement("invalid", f"the server is gone: {crowd.gone}")
            if judgement:
                return judgement
            if now - origin > longest_s:
                return Judgement("undecided", f"{judge.count()}, and {longest_s:.0f} s were over")
        return Judgement("invalid", "the simulated users stopped")

    def _own_fault(self, lag_s: float, cpu: float) -> Judgement | None:
        most_lag_s = self.limits.max_loop_lag_s
        if most_lag_s is None:
            most_lag_s = max(0.01, self.slo.limit_s / 100)
        if lag_s > most_lag_s:
            why = f"its event loop was {lag_s * 1000:.0f} ms late, {most_lag_s * 1000:.0f} ms are allowed"
        elif cpu > self.limits.max_client_cpu:
            why = f"it used {cpu:.0%} of a core, {self.limits.max_client_cpu:.0%} are allowed"
        else:
            return None
        return Judgement("invalid", f"the load generator was the bottleneck: {why}; run it on a machine that is free")

    def _cycle_s(self) -> float:
        """From one message of a user to the next, when the answer just keeps the limit."""
        return self.habits.cooldown_s + self.slo.limit_s

    def _warm_up_s(self) -> float:
        if self.limits.warm_up_s is not None:
            return self.limits.warm_up_s
        return {"staggered": self._cycle_s(), "burst": 0.0, "poisson": 3 * self.slo.limit_s}[self.habits.arrivals]

    def _longest_s(self, level: float, requests: int) -> float:
        """By when the requests were made even if each hung: a bound, not an estimate."""
        if self.habits.arrivals == "poisson":
            return self._warm_up_s() + 2 * requests / level + 2 * self.server.timeout_s
        turn_s = 2 * self.habits.cooldown_s + self.server.timeout_s + 1
        return self._warm_up_s() + (math.ceil(requests / level) + self.habits.messages) * turn_s

    def _check_level(self, level: float, requests: int) -> None:
        if self.habits.arrivals != "poisson" and (level < 1 or level % 1 != 0):
            raise UsageError(f"a level of {level:g} users cannot be tried; give a whole number of at least 1")
        if not 0 < level < math.inf or requests < 1:
            raise UsageError(f"a trial needs a level and a number of requests above 0, not {level:g} and {requests}")
        _allow_open_files(math.ceil(level) + _SPARE_FILES)

    async def _checked(self) -> ChatServer:
        """The server with its model's name, which it is proved to serve if it lists its models.

        Raises:
            ServerError: see the class.
        """
        status, body = await self._control.get(f"{self.server.url}/models", _OPEN_TIMEOUT_S)
        if status >= _SERVER_FAULT:
            raise ServerError(f"{self.server.url}: HTTP {status}, it is not ready; try again when its model is loaded")
        wanted = {BASE: Target(self.server.body.get("model"), {})}
        named = with_models(wanted, listed_models(body), self.server.url)
        return dataclasses.replace(self.server, body={**self.server.body, "model": named[BASE].model})


@contextlib.asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run it while the block runs, and cancel it at the end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _allow_open_files(count: int) -> None:
    """Raise the process's limit on open files if so many connections need it.

    Raises:
        UsageError: the system does not let it.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise UsageError(f"{count} connections need as many open files, and {hard} are allowed; raise `ulimit -n`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
