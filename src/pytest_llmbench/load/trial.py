"""A server under load, one trial after another: raise a crowd, judge its answers, stop at once, wait until idle."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.machine import usable_cores
from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.load.checked_server import CheckedServer
from pytest_llmbench.load.client import AddressBook, ChatServer, UserConnection
from pytest_llmbench.load.client_overhead import WatchedCrowd, allow_open_files, meanwhile
from pytest_llmbench.load.conversations import Conversations
from pytest_llmbench.load.health_check import IdleWatch
from pytest_llmbench.load.reasons import BOTTLENECKS, Reason
from pytest_llmbench.load.records import SLO, Ends, Trial, TrialLimits
from pytest_llmbench.load.slo import Allowed, Judge, Judgement
from pytest_llmbench.load.users import Crowd, Habits
from pytest_llmbench.load.workers import LivingCrowd, Machines, ThisMachine, WorkerProcesses

if TYPE_CHECKING:
    from pytest_llmbench.load.ray_workers import RayMachines

__all__ = ["LoadTest", "TrialLimits"]

_log = logging.getLogger("pytest_llmbench")
_OPEN_TIMEOUT_S = 10.0
_SPARE_FILES = 64
_LONGEST_QUEUE = 5  # limits; by then a trial is broken for sure


class LoadTest:
    """One server and how it is used. An async context manager: entering it checks that the server can be tested.

    `habits`, `server` and `conversations` may be changed from trial to trial. `on_answer(good, judged)` is told while
    answers come how many were judged so far.

    The users live in so many `processes` (see `workers.py`), which are kept from trial to trial. With "auto" that is
    one, the caller's, until it proves too slow for a trial: that trial is repeated with twice as many, as long as there
    are cores for them. With `machines` they are on those of a cluster, as many as it has place for.

    Once it is entered, `engine` tells what serves, and `presence` whether it is still there.

    Raises:
        ServerError: on entering, nobody answers, the key is refused, or the model is not served.
        UsageError: the SLO is for first tokens, and answers are not streamed; or the number of processes cannot be.
    """

    def __init__(
        self,
        server: ChatServer,
        conversations: Conversations,
        habits: Habits | None = None,
        slo: SLO | None = None,
        limits: TrialLimits | None = None,
        processes: int | Literal["auto"] = "auto",
        machines: RayMachines | None = None,
    ) -> None:
        self.habits, self.slo, self.limits = habits or Habits(), slo or SLO(), limits or TrialLimits()
        if self.slo.latency == "first_token" and not server.stream:
            raise UsageError("a limit on the first token needs streamed answers; stream, or limit the total latency")
        self.server = server
        self._processes, self._most_processes = _processes(machines.count if machines else processes, server)
        self._machines = machines
        self._workers: WorkerProcesses[Any] | None = None
        self.conversations = conversations
        self._idle_s: float | None = None
        self.on_answer: Callable[[int, int], None] = lambda _good, _judged: None

    async def __aenter__(self) -> Self:
        headers = {**self.server.headers, "Connection": "close"}  # so that only users hold connections
        self._control = ChatClient(self.server.url, headers, 1, self.server.timeout_s, 0, self.server.tls)
        try:
            checked = await CheckedServer.of(self._control, self.server)
            self.server, self.engine, self.presence = checked.server, checked.engine, checked.presence
            self._watch = await IdleWatch.of(self._control, self.server.standing, _OPEN_TIMEOUT_S)
        except BaseException:
            await self._control.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._control.close()
        await self._dismiss()

    async def trial(self, level: float, requests: int) -> Trial:
        """Hold one level until its verdict is sure or so many requests were judged; the server is then idle again.

        A trial that proves nothing is "invalid" and says why: the client was too slow or was not there for a while, the
        server went away, or was not idle to begin with.

        Raises:
            ServerError: the server refuses the questions themselves (its key, its model, their form).
            UsageError: there is no such level.
        """
        self._check_level(level, requests)
        trial = await self._held(level, requests, self.limits.most_sent)
        while self._processes < self._most_processes and self._was_too_slow(trial):
            await self._grow()
            again = await self._held(level, requests, self.limits.most_sent - trial.sent)
            trial = dataclasses.replace(again, sent=trial.sent + again.sent)
        return trial

    async def _held(self, level: float, requests: int, most_sent: float) -> Trial:
        started = time.monotonic()
        if self._idle_s is None and await self._watch.wait(self.limits.drain_s) is None:
            busy, gone = Reason("server_busy", {"waited_s": self.limits.drain_s}), self._watch.gone
            why = Reason("server_gone", {"error": gone}) if gone else busy
            return Trial(level, (), "invalid", why, time.monotonic() - started, 0.0, 0.0)
        self._idle_s = None  # until it is proved again after this trial
        measured = await self._measure(level, requests, most_sent)
        self._idle_s = await self._watch.wait(self.limits.drain_s)
        return dataclasses.replace(measured, idle_after_s=self._idle_s)

    def _was_too_slow(self, trial: Trial) -> bool:
        return trial.verdict == "invalid" and trial.why.code in BOTTLENECKS

    async def _grow(self) -> None:
        self._processes = min(2 * self._processes, self._most_processes)
        _log.warning("the load generator was too slow: it goes on with %d processes", self._processes)
        await self._dismiss()

    async def _dismiss(self) -> None:
        if self._workers:
            await self._workers.close()
            self._workers = None

    async def _crowd(self) -> LivingCrowd:
        if self._processes == 1 and not self._machines:
            addresses = AddressBook()
            people = self.habits, self.conversations, self._cycle_s()
            return WatchedCrowd(Crowd(lambda: UserConnection(self.server, addresses), *people))
        if self._workers and not self._workers.usable_with(self.conversations):
            await self._dismiss()
        if self._workers is None:
            machines: Machines[Any] = self._machines or ThisMachine()
            self._workers = await WorkerProcesses.started(machines, self._processes, self.conversations)
        return await self._workers.crowd(self.server, self.habits, self._cycle_s(), self._open_at_a_time())

    async def _measure(self, level: float, requests: int, most_sent: float) -> Trial:
        crowd = await self._crowd()
        judge = Judge(self.slo, level, requests, self.limits.error_rate, self._warm_up_s())
        origin = time.monotonic()
        async with meanwhile(crowd.live(level)) as living:
            ends = Ends(origin + self._longest_s(level, requests), most_sent)
            judgement = await self._decide(crowd, living, judge, origin, ends)
            ended = time.monotonic()
        if judgement.verdict != "invalid":
            allowed = Allowed.by(self.limits, self.slo)
            judgement = allowed.fault(crowd.lag_s, crowd.standstill_s, crowd.cpu) or judgement
        return Trial(
            level=level,
            requests=judge.requests(origin, ended),
            verdict=judgement.verdict,
            why=judgement.why,
            duration_s=ended - origin,
            loop_lag_s=crowd.lag_s,
            client_cpu=crowd.cpu,
            sent=len(crowd.calls),
            processes=crowd.processes,
            standstill_s=crowd.standstill_s,
            clocks=crowd.clocks,
        )

    async def _decide(
        self, crowd: LivingCrowd, living: asyncio.Task[None], judge: Judge, origin: float, ends: Ends
    ) -> Judgement:
        pause_s = min(0.05, max(0.002, self.slo.limit_s / 50))
        while not living.done():  # only a fault in the crowd itself ends it, and is raised where the crowd is left
            await asyncio.sleep(pause_s)
            judgement = judge.look(crowd.calls, origin, crowd.known_until)
            self.on_answer(judge.good, judge.judged)
            if crowd.fatal:
                raise crowd.fatal
            if crowd.gone:
                return Judgement("invalid", Reason("server_gone", {"error": crowd.gone}))
            if judgement and not (judgement.verdict == "held" and self._may_break_later(judge)):
                return judgement
            if over := ends.reached(len(crowd.calls)):
                return Judgement("undecided", judge.reason(over, sent=len(crowd.calls)))
        return Judgement("invalid", crowd.stopped)

    def _may_break_later(self, judge: Judge) -> bool:
        """Where nobody waits for an answer before asking again, a queue that grows shows late."""
        return self.habits.arrivals == "poisson" and not judge.complete

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
        allow_open_files(math.ceil(level * self._open_at_a_time()) + _SPARE_FILES)

    def _open_at_a_time(self) -> float:
        """Connections for one of a level: at a rate, those who came since the first who are not answered."""
        patience_s = min(self.server.timeout_s, _LONGEST_QUEUE * self.slo.limit_s)
        return max(1.0, patience_s) if self.habits.arrivals == "poisson" else 1.0


def _processes(wanted: int | Literal["auto"], server: ChatServer) -> tuple[int, int]:
    """With how many processes to begin, and how many there may be."""
    own_context = isinstance(server.tls, ssl.SSLContext)
    if wanted == "auto":
        return 1, 1 if own_context else max(1, usable_cores())
    if wanted < 1:
        raise UsageError(f"the load generator needs at least 1 process, not {wanted}")
    if own_context and wanted > 1:
        raise UsageError("a TLS context of one's own cannot be handed to other processes; set load.processes to 1")
    return wanted, wanted
