"""A process of the load generator on this machine, as the one that started it sees it.

It is a plain child process, not a fork, and imports nothing but the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from typing import TYPE_CHECKING, cast

from pytest_llmbench.load.worker import HEADER, WorkerReport, pack

if TYPE_CHECKING:
    from pytest_llmbench.load.conversations import Conversations

_STOP_S = 10.0

_PROGRAM = """import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
sys.path[:] = {path!r}
from pytest_llmbench.load.worker import work
work()
"""


class Worker:
    """One process. Made by `started`."""

    def __init__(
        self, process: asyncio.subprocess.Process, orders: asyncio.StreamWriter, reports: asyncio.StreamReader
    ) -> None:
        self._process, self._orders, self._reports = process, orders, reports

    @classmethod
    async def started(cls, conversations: Conversations) -> Worker:
        """Start it. Its first report says that it is ready."""
        program = _PROGRAM.format(path=sys.path)
        pipe = asyncio.subprocess.PIPE
        words = (sys.executable, "-P", "-c", program)  # the working folder has no modules of ours
        process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
        if process.stdin is None or process.stdout is None:
            raise OSError("it has no pipes")
        worker = cls(process, process.stdin, process.stdout)
        worker.send(conversations)
        return worker

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.returncode is None and not self._reports.at_eof()

    def send(self, order: object) -> None:
        """Give an order; a process that is gone does not get it, which its reports tell."""
        with contextlib.suppress(OSError):
            self._orders.write(pack(order))

    async def report(self) -> WorkerReport:
        """What it tells next.

        Raises:
            EOFError: it is gone.
        """
        size = HEADER.unpack(await self._reports.readexactly(HEADER.size))[0]
        frame = await self._reports.readexactly(size)
        return cast("WorkerReport", pickle.loads(frame))  # noqa: S301  # from this process's own child

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """Let it end, and see that it does."""
        self._orders.close()
        try:
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
