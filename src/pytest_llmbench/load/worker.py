"""A process of the load generator with a share of the users: orders come in, what their calls came to goes out.

It is started by `worker_process.py` and speaks over its standard input and output, in pickled frames. It ends when its
input is closed, which also happens when the process that started it dies in any way.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import os
import pickle
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_llmbench.load.client import AddressBook, Call, ChatServer, UserConnection
from pytest_llmbench.load.client_overhead import WatchedCrowd, allow_open_files, meanwhile
from pytest_llmbench.load.users import Crowd, Habits, UserShare

if TYPE_CHECKING:
    from pytest_llmbench.core.errors import ServerError
    from pytest_llmbench.generation.client.answer_judge import Failure
    from pytest_llmbench.generation.client.chat_answer import Answer
    from pytest_llmbench.load.conversations import Conversations
    from pytest_llmbench.load.records import Finish

_TICK_S = 0.02
_SPARE_FILES = 64
HEADER = struct.Struct("!Q")
"""What each frame begins with: its length."""


@dataclasses.dataclass(frozen=True, slots=True)
class Live:
    """The order to live a share of a level, from a moment on that all processes share. Another order ends it.

    `connections` may be open at a time for one of a level.
    """

    server: ChatServer
    habits: Habits
    past: int
    level: float
    cycle_s: float
    share: UserShare
    starts_at: float
    connections: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Meet:
    """All users of a burst are there: they go on together at this moment."""

    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """How a call ended."""

    finish: Finish
    error: str | None
    failure: Failure | None
    at: float
    answer: Answer


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """The order to cut all calls off."""


@dataclasses.dataclass(frozen=True, slots=True)
class Closing:
    """What a trial came to in one process; `rounds` is how far its conversations were dealt.

    `unfinished` is what was there of the answers that were cut off.
    """

    lag_s: float
    cpu: float
    rounds: int
    unfinished: dict[int, Answer]


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerReport:
    """What is new of a process's calls, each by its place in their order. Times are monotonic seconds.

    After `known_until` nothing is known yet. `begun` are (user, message, when), `first_tokens` those of answers that go
    on, `whole` when answers ended whose stream has not. `gathered` counts how often all its users of a burst were
    there, `standstill_s` is the longest that the process noticed nothing. The last one of a trial has a `closing`.
    """

    known_until: float
    begun: list[tuple[int, int, float]]
    first_tokens: dict[int, float]
    ended: dict[int, End]
    fatal: ServerError | None
    gone: str | None
    gathered: int
    standstill_s: float = 0.0
    closing: Closing | None = None
    whole: dict[int, float] = dataclasses.field(default_factory=dict)


def work() -> None:
    """Follow the orders that come on standard input until it is closed."""
    orders, reports = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # whatever prints goes elsewhere
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(_follow(orders, reports))


def pack(frame: object) -> bytes:
    """A frame as it goes over the wire."""
    body = pickle.dumps(frame, pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(body)) + body


class _Orders:
    """The orders that came, None at their end. A thread reads them, for no event loop can read every kind of pipe."""

    def __init__(self, source: BinaryIO) -> None:
        self._came = asyncio.Queue[Any]()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(source, loop), daemon=True).start()

    async def next(self, timeout_s: float | None = None) -> Any:
        """The next order.

        Raises:
            TimeoutError: none came.
        """
        async with asyncio.timeout(timeout_s):
            order = await self._came.get()
        if order is None:
            self._came.put_nowait(None)  # the end stays the end
        return order

    def _read(self, source: BinaryIO, loop: asyncio.AbstractEventLoop) -> None:
        order: Any = True
        while order is not None:
            order = _read_frame(source)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._came.put_nowait, order)


def _read_frame(source: BinaryIO) -> Any:
    if len(header := _read_exactly(source, HEADER.size)) < HEADER.size:
        return None
    size = HEADER.unpack(header)[0]
    body = _read_exactly(source, size)
    return pickle.loads(body) if len(body) == size else None  # noqa: S301  # from the process that started this one


def _read_exactly(source: BinaryIO, size: int) -> bytes:
    read = b""
    while len(read) < size and (more := source.read(size - len(read))):
        read += more
    return read


async def _follow(source: BinaryIO, reports: BinaryIO) -> None:
    async def send(report: WorkerReport) -> None:
        await asyncio.to_thread(_write, reports, pack(report))

    orders = _Orders(source)
    conversations: Conversations = await orders.next()
    await send(WorkerReport(time.monotonic(), [], {}, {}, None, None, 0))
    while order := await orders.next():
        if isinstance(order, Live):
            await _live(order, conversations, orders, send)


def _write(reports: BinaryIO, frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[reports.write(rest) :]


async def _live(
    order: Live, conversations: Conversations, orders: _Orders, send: Callable[[WorkerReport], Any]
) -> None:
    allow_open_files(math.ceil(order.level * order.connections) + _SPARE_FILES)
    meeting, addresses = _Meeting(), AddressBook()
    conversations.past = order.past
    crowd = Crowd(
        lambda: UserConnection(order.server, addresses),
        *(order.habits, conversations, order.cycle_s, order.share, meeting.gather),
    )
    watched, reporter = WatchedCrowd(crowd), _Reporter(crowd)
    await asyncio.sleep(order.starts_at - time.monotonic())
    late_s = time.monotonic() - order.starts_at

    def report() -> WorkerReport:
        told = reporter.report(meeting.gathered)
        return dataclasses.replace(told, standstill_s=max(late_s, watched.standstill_s))

    async with meanwhile(watched.live(order.level)) as living:
        while not living.done():
            try:
                come = await orders.next(_TICK_S)
            except TimeoutError:
                await send(report())
                continue
            if not isinstance(come, Meet):
                break
            meeting.go(come.at)
    last = report()
    closing = Closing(watched.lag_s, watched.cpu, conversations.rounds, reporter.unfinished())
    await send(dataclasses.replace(last, closing=closing))


class _Meeting:
    """Where this process's users of a burst wait for those of the others."""

    def __init__(self) -> None:
        self.gathered = 0
        self._start = asyncio.Queue[float]()

    async def gather(self) -> None:
        self.gathered += 1
        await asyncio.sleep(await self._start.get() - time.monotonic())

    def go(self, at: float) -> None:
        self._start.put_nowait(at)


class _Reporter:
    """Tells of each call what changed since the last report."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._told = 0
        self._open: dict[int, Call] = {}
        self._visible: set[int] = set()

    def report(self, gathered: int) -> WorkerReport:
        now, calls = time.monotonic(), self._crowd.calls
        new = calls[self._told :]
        self._open.update(enumerate(new, start=self._told))
        self._told = len(calls)
        ended = {place: _end(call, call.ended) for place, call in self._open.items() if call.ended is not None}
        for place in ended:
            del self._open[place]
        begun = [(call.user, call.message, call.started) for call in new]
        whole = {place: call.answer.ended_at for place, call in self._open.items() if call.answer.ended_at is not None}
        fatal, gone = self._crowd.fatal, self._crowd.gone
        return WorkerReport(now, begun, self._first_tokens(), ended, fatal, gone, gathered, whole=whole)

    def unfinished(self) -> dict[int, Answer]:
        """What came of the calls that are still open."""
        return {place: _without_text(call.answer) for place, call in self._open.items()}

    def _first_tokens(self) -> dict[int, float]:
        seen = {
            place: call.answer.first_visible_at
            for place, call in self._open.items()
            if call.answer.first_visible_at is not None and place not in self._visible
        }
        self._visible.update(seen)
        return seen


def _end(call: Call, at: float) -> End:
    return End(call.finish, call.error, call.failure, at, _without_text(call.answer))


def _without_text(answer: Answer) -> Answer:
    return answer.without_text()  # it stays in the history here, and nobody else reads it
