"""How busy the load generator itself is: a client that comes late would measure itself."""

from __future__ import annotations

import asyncio
import time

_TICK_S = 0.02
_PERCENTILE = 0.95


class OwnLoad:
    """The lag of the event loop that `watch` runs in, and the CPU time of this process, since this was made."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._cpu = time.process_time()
        self._started = time.monotonic()

    async def watch(self) -> None:
        """Note again and again how much later than asked the loop comes back. Runs until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._lags.append(clock() - due)

    @property
    def lag_s(self) -> float:
        """The 95th percentile of the loop's lateness, in seconds; timers alone are late by about 1 ms."""
        if not self._lags:
            return 0.0
        return sorted(self._lags)[min(len(self._lags) - 1, int(len(self._lags) * _PERCENTILE))]

    @property
    def cpu(self) -> float:
        """CPU time over wall time: 1 is one core at work all along, which is all that one event loop can use."""
        return (time.process_time() - self._cpu) / max(time.monotonic() - self._started, 1e-9)
