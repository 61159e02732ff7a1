"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines for synchronous code, without standing still while that code is busy with what they gave it.

    Answers are thus read and timed at the moment they arrive, and it works where a loop is running already (notebooks,
    asynchronous tests).
    """

    def __init__(self) -> None:
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._serve, args=(started,), name="llmbench-server", daemon=True)
        self._closing = asyncio.Event()
        self._thread.start()
        self._loop = started.result()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start the coroutine; the future can be waited for or cancelled from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises."""
        return self.submit(coroutine).result()

    @property
    def running(self) -> bool:
        """Whether coroutines can still be run."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Cancel what still runs and end the thread. Closing twice is harmless."""
        if self.running:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def _serve(self, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        async def until_closed() -> None:
            started.set_result(asyncio.get_running_loop())
            await self._closing.wait()

        asyncio.run(until_closed())
