"""More processes for the load generator, where one event loop is not enough: each has a share of the users.

The judge stays here: it sees the calls of all processes as if they were made in this one.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pytest_llmbench.core.errors import NotReadyError, ServerError
from pytest_llmbench.generation.client.chat_answer import Answer
from pytest_llmbench.load.client import Call, ChatServer
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import Clocks
from pytest_llmbench.load.users import Habits, UserShare
from pytest_llmbench.load.worker import Closing, Live, Meet, Stop, WorkerReport
from pytest_llmbench.load.worker_process import Worker

if TYPE_CHECKING:
    from pytest_llmbench.load.conversations import Conversations

_log = logging.getLogger("pytest_llmbench")
_START_UP_S = 60.0
_STOP_S = 10.0


class LivingCrowd(Protocol):
    """The users of a trial, wherever they live. `stopped` says why they stopped by themselves.

    `clocks` are those of the machines where they live, None for this one's.

    `lag_s` and `cpu` are known at the end, `standstill_s`, the longest that nothing was noticed, all the time.
    """

    stopped: Reason
    processes: int
    lag_s: float
    cpu: float
    clocks: Clocks | None

    @property
    def standstill_s(self) -> float:
        """In seconds."""

    @property
    def calls(self) -> list[Call]:
        """What was asked, in the order of asking."""

    @property
    def fatal(self) -> ServerError | None:
        """Why asking more is no use."""

    @property
    def gone(self) -> str | None:
        """Why no connection could be made."""

    @property
    def known_until(self) -> float:
        """Up to when `calls` is the whole truth, in monotonic seconds."""

    async def live(self, level: float) -> None:
        """Keep the level up until cancelled."""


class LoadWorker(Protocol):
    """One process with a share of the users, on this machine or another. All times are this machine's."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    def send(self, order: object) -> None:
        """Give an order; one that is gone does not get it, which its reports tell."""

    async def report(self) -> WorkerReport:
        """What it tells next. Raises EOFError where it is gone."""

    def kill(self) -> None:
        """End it at once."""

    async def close(self) -> None:
        """Let it end, and see that it does."""


_W = TypeVar("_W", bound=LoadWorker)


class Machines(Protocol[_W]):
    """Where processes are started."""

    lead_s: float
    """From an order to begin until the common beginning: every process has read it by then."""

    async def started(self, conversations: Conversations) -> _W:
        """One more process, with these conversations."""

    async def compared(self, workers: Sequence[_W]) -> Clocks | None:
        """How their clocks stand to this machine's now; None where it is the same clock."""


class ThisMachine:
    """Processes beside this one."""

    lead_s = 0.02

    async def started(self, conversations: Conversations) -> Worker:
        """One more."""
        return await Worker.started(conversations)

    async def compared(self, workers: Sequence[Worker]) -> None:
        """They have this one's clock."""


class WorkerProcesses(Generic[_W]):
    """So many processes, each with conversations of its own. Made by `started`, ended by `close`."""

    def __init__(self, machines: Machines[_W], workers: Sequence[_W], conversations: Conversations) -> None:
        self._machines, self._workers = machines, workers
        self._conversations = conversations

    @classmethod
    async def started(cls, machines: Machines[_W], count: int, conversations: Conversations) -> WorkerProcesses[_W]:
        """Start them; they stay for all trials.

        Raises:
            NotReadyError: the system does not let it.
        """
        workers: list[_W] = []
        try:
            for part in conversations.split(count):
                workers.append(await machines.started(part))  # noqa: PERF401  # those started so far must be known
            async with asyncio.timeout(_START_UP_S):
                for worker in workers:
                    await worker.report()
        except (OSError, EOFError) as error:  # a timeout is an OSError
            await _close(workers)
            why = f"a process of the load generator did not start ({error or 'no word of it'})"
            raise NotReadyError(f"{why}; set load.processes to 1") from error
        except BaseException:
            await _close(workers)
            raise
        return cls(machines, workers, conversations)

    def usable_with(self, conversations: Conversations) -> bool:
        """Whether all of them are alive and were given these conversations."""
        return self._conversations is conversations and all(worker.alive for worker in self._workers)

    async def crowd(self, server: ChatServer, habits: Habits, cycle_s: float, connections: float = 1.0) -> SharedCrowd:
        """The users of one trial; `connections` may be open at a time for one of a level."""
        crowd = SharedCrowd(self._workers, self._conversations, server, habits, cycle_s)
        crowd.connections = connections
        crowd.lead_s, crowd.clocks = self._machines.lead_s, await self._machines.compared(self._workers)
        return crowd

    async def close(self) -> None:
        """End them."""
        await _close(self._workers)


class SharedCrowd:
    """A crowd whose users are divided over processes, as `LivingCrowd` has it."""

    def __init__(
        self,
        workers: Sequence[LoadWorker],
        conversations: Conversations,
        server: ChatServer,
        habits: Habits,
        cycle_s: float,
    ) -> None:
        self.stopped = Reason("users_stopped")
        self.processes = len(workers)
        self.clocks: Clocks | None = None
        self.lead_s, self.connections = ThisMachine.lead_s, 1.0
        self.lag_s = self.cpu = self.standstill_s = 0.0
        self.calls: list[Call] = []
        self.fatal: ServerError | None = None
        self.gone: str | None = None
        self._workers = workers
        self._conversations = conversations
        self._server, self._habits, self._cycle_s = server, habits, cycle_s
        self._of: list[list[Call]] = []
        self._known: list[float] = []
        self._gathered: list[int] = []
        self._met = 0
        self._ahead: list[tuple[float, int, int, Call]] = []

    @property
    def known_until(self) -> float:
        """The moment up to which all processes have reported."""
        return min(self._known, default=time.monotonic())

    async def live(self, level: float) -> None:
        """Keep the level up until cancelled; ends by itself only when a process is lost."""
        everybody = self._habits.arrivals == "poisson" or level >= len(self._workers)
        self._workers = self._workers if everybody else self._workers[: int(level)]
        self.processes = count = len(self._workers)
        starts_at = time.monotonic() + self.lead_s
        self._of, self._known, self._gathered = [[] for _ in range(count)], [starts_at] * count, [0] * count
        for place, worker in enumerate(self._workers):
            worker.send(self._order(level, UserShare(place, count), starts_at))
        followers = [asyncio.create_task(self._follow(place)) for place in range(count)]
        try:
            await asyncio.wait(followers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._stop(followers)
        for follower in followers:
            if not follower.cancelled():
                follower.result()

    def _order(self, level: float, share: UserShare, starts_at: float) -> Live:
        past = self._conversations.past
        return Live(self._server, self._habits, past, level, self._cycle_s, share, starts_at, self.connections)

    async def _stop(self, followers: Sequence[asyncio.Task[None]]) -> None:
        for worker in self._workers:
            worker.send(Stop())
        await asyncio.wait(followers, timeout=_STOP_S)
        for worker, follower in zip(self._workers, followers, strict=True):
            if not follower.done():  # it did not even say goodbye
                self.standstill_s = max(self.standstill_s, time.monotonic() - self.known_until)
                follower.cancel()
                worker.kill()
        await asyncio.wait(followers)
        self._release(math.inf)

    async def _follow(self, place: int) -> None:
        """Take in what one process reports, until its closing."""
        worker = self._workers[place]
        while True:
            try:
                report = await worker.report()
            except EOFError:
                self.stopped = Reason("process_died", {"process": place + 1, "processes": self.processes})
                _log.warning("%s; the next trial starts new ones", self.stopped)
                return
            self._take(place, report)
            if report.closing:
                self._close(place, report.closing)
                return

    def _take(self, place: int, report: WorkerReport) -> None:
        calls = self._of[place]
        for user, message, started in report.begun:
            call = Call(user, message)
            call.started = started
            heapq.heappush(self._ahead, (started, place, len(calls), call))
            calls.append(call)
        for number, at in report.first_tokens.items():
            calls[number].answer = Answer(token_times=[at], first_visible_at=at)
        for number, at in report.whole.items():
            calls[number].answer.ended_at = at
        for number, end in report.ended.items():
            calls[number].answer = end.answer
            calls[number].end(end.finish, end.error, end.at, end.failure)
        self.fatal, self.gone = self.fatal or report.fatal, report.gone or self.gone
        self._known[place], self._gathered[place] = report.known_until, report.gathered
        self.standstill_s = max(self.standstill_s, report.standstill_s)
        self._release(self.known_until)
        if min(self._gathered) > self._met:
            self._meet()

    def _release(self, until: float) -> None:
        """Let those calls be seen that no other can come before."""
        while self._ahead and self._ahead[0][0] <= until:
            self.calls.append(heapq.heappop(self._ahead)[-1])

    def _meet(self) -> None:
        self._met += 1
        for worker in self._workers:
            worker.send(Meet(time.monotonic() + self.lead_s))

    def _close(self, place: int, closing: Closing) -> None:
        for number, answer in closing.unfinished.items():
            self._of[place][number].answer = answer
        self.lag_s, self.cpu = max(self.lag_s, closing.lag_s), max(self.cpu, closing.cpu)
        self._conversations.rounds = max(self._conversations.rounds, closing.rounds)


async def _close(workers: Sequence[LoadWorker]) -> None:
    await asyncio.gather(*(worker.close() for worker in workers))
