"""How busy the load generator itself is: a client that comes late would measure itself."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from pytest_llmbench.core.errors import ServerError, UsageError
from pytest_llmbench.load.client import Call
from pytest_llmbench.load.reasons import Reason
from pytest_llmbench.load.records import Clocks
from pytest_llmbench.load.users import Crowd

_TICK_S = 0.02
_PERCENTILE = 0.95


def now() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as the server's does; `time.monotonic` may not."""
    if sys.platform == "linux":
        clock = time.CLOCK_BOOTTIME
    elif sys.platform == "win32":
        return time.monotonic()  # it does here
    else:
        clock = time.CLOCK_MONOTONIC
    return time.clock_gettime(clock)


class OwnLoad:
    """How late the event loop that `watch` runs in notices things, and the CPU time of this process, since now."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._cpu = time.process_time()
        self._started = now()
        self._due = self._started + _TICK_S
        self._longest_s = 0.0

    async def watch(self) -> None:
        """Note again and again how much later than asked the loop comes back. Runs until cancelled."""
        try:
            while True:
                self._due = now() + _TICK_S
                await asyncio.sleep(_TICK_S)
                self._lags.append(now() - self._due)
                self._longest_s = max(self._longest_s, self._lags[-1])
        finally:
            self._longest_s, self._due = self.standstill_s, math.inf

    @property
    def lag_s(self) -> float:
        """The 95th percentile of the loop's lateness, in seconds; timers alone are late by about 1 ms.

        One standstill, however long, is one of thousands of times: `standstill_s` tells of it.
        """
        if not self._lags:
            return 0.0
        return sorted(self._lags)[min(len(self._lags) - 1, int(len(self._lags) * _PERCENTILE))]

    @property
    def standstill_s(self) -> float:
        """The longest that the loop stood still, up to now, in seconds."""
        return max(self._longest_s, now() - self._due)

    @property
    def cpu(self) -> float:
        """CPU time over wall time: 1 is one core at work all along, which is all that one event loop can use."""
        return (time.process_time() - self._cpu) / max(now() - self._started, 1e-9)


class WatchedCrowd:
    """A crowd in this process, and what it costs: `lag_s` and `cpu` are of the time until it is cancelled.

    `standstill_s` is known all the time: a process that hangs in the end has told of it.
    """

    stopped = Reason("users_stopped")
    processes = 1
    clocks: Clocks | None = None

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._own: OwnLoad | None = None
        self.lag_s = self.cpu = 0.0

    async def live(self, level: float) -> None:
        """Run until cancelled; its connections are closed then."""
        own = self._own = OwnLoad()
        async with meanwhile(self._crowd.live(level)) as living, meanwhile(own.watch()):
            try:
                await asyncio.wait([living])
            finally:
                self.lag_s, self.cpu = own.lag_s, own.cpu

    @property
    def standstill_s(self) -> float:
        """The longest that nothing was noticed so far, in seconds."""
        return self._own.standstill_s if self._own else 0.0

    @property
    def calls(self) -> list[Call]:
        """All that was asked, in the order of asking."""
        return self._crowd.calls

    @property
    def fatal(self) -> ServerError | None:
        """Why asking more is no use."""
        return self._crowd.fatal

    @property
    def gone(self) -> str | None:
        """Why no connection could be made."""
        return self._crowd.gone

    @property
    def known_until(self) -> float:
        """Up to when `calls` is the whole truth, in monotonic seconds."""
        return time.monotonic()


@contextlib.asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run it while the block runs, and cancel it at the end; a cancellation of the caller meanwhile is not lost."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if (caller := asyncio.current_task()) and caller.cancelling():
                raise


def allow_open_files(count: int) -> None:
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
