"""What the server and the GPUs did while a trial ran: sampled about once a second beside it, and summed up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import statistics
import time
import urllib.parse
from collections.abc import Iterable
from typing import Any, Self, TypedDict

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.generation.client.server_address import engine_url
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.prometheus import Reading, read_page

_log = logging.getLogger("pytest_llmbench")
_EVERY_S = 1.0
_TIMEOUT_S = 5.0
_COST = 0.01
"""The most of the event loop's time that reading pages may take; long pages are looked at less often."""

_GIB = 2**30
_HERE = frozenset(("127.0.0.1", "::1", "localhost"))


class ServerSummary(TypedDict):
    """The server in a trial. Rates are over the seconds in which it worked; None is what its page does not tell."""

    running_max: float | None
    running_mean: float | None
    waiting_max: float | None
    waiting_mean: float | None
    kv_cache_max: float | None
    prompt_tokens_per_s: float | None
    generated_tokens_per_s: float | None
    preemptions: float | None
    samples: int


class GpuSummary(TypedDict):
    """The GPUs in a trial: the busiest one's share of time at work, and the most memory in use on all together."""

    devices: list[str]
    utilization: float
    utilization_max: float
    memory_gib: float


class WatchSummary(TypedDict):
    """What was seen in a trial; None for a server without a page we know, and where there are no GPUs to see."""

    server: ServerSummary | None
    gpu: GpuSummary | None


class ServerWatch:
    """Samples the server's `/metrics` and, when it is on this machine, the GPUs. An async context manager.

    A page that is missing, refused or unknown is no fault: the summary then has nothing to tell of it.
    """

    def __init__(self, server: ChatServer, every_s: float = _EVERY_S) -> None:
        self._server = server
        self._page = engine_url(server.url, "/metrics")
        self._every_s = every_s
        self._readings: list[tuple[float, Reading]] = []
        self._gpu_readings: list[GpuReading] = []
        self._gpus: Gpus | None = None
        self._read_s = 0.0

    async def __aenter__(self) -> Self:
        if urllib.parse.urlsplit(self._server.url).hostname in _HERE:
            self._gpus = await asyncio.to_thread(Gpus.found)
        headers = {**self._server.headers, "Connection": "close"}  # so that only users hold connections
        self._client = ChatClient(self._server.url, headers, 1, _TIMEOUT_S, 0, self._server.tls)
        try:
            self._tells = await self._look_at_server()
        except BaseException:
            await self._client.close()
            raise
        self._sampling = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sampling
        try:
            if self._tells:
                await self._look_at_server()
        finally:
            await self._client.close()

    def summary(self) -> WatchSummary:
        """What was seen so far, first and last look included."""
        names = self._gpus.names if self._gpus else ()
        return {"server": server_summary(self._readings), "gpu": gpu_summary(names, self._gpu_readings)}

    async def _sample(self) -> None:
        while self._tells or self._gpus:
            if self._gpus:
                await self._look_at_gpus(self._gpus)
            await asyncio.sleep(max(self._every_s, self._read_s / _COST))
            if self._tells:
                await self._look_at_server()

    async def _look_at_server(self) -> bool:
        try:
            page = await self._client.get(self._page, _TIMEOUT_S)
        except ServerError as error:  # the trial itself tells when the server is gone
            _log.info("a look at %s failed: %s", self._page, error)
            return False
        started = time.perf_counter()
        reading = None if page.refused else read_page(page.text)
        self._read_s = time.perf_counter() - started
        if reading:
            self._readings.append((time.monotonic(), reading))
        return reading is not None

    async def _look_at_gpus(self, gpus: Gpus) -> None:
        if reading := await asyncio.to_thread(gpus.read):
            self._gpu_readings.append(reading)


def server_summary(readings: list[tuple[float, Reading]]) -> ServerSummary | None:
    """Readings, each with its monotonic second, in one summary; None without any."""
    if not readings:
        return None
    looks = [reading for _, reading in readings]
    running, waiting = _told(look.running for look in looks), _told(look.waiting for look in looks)
    return {
        "running_max": max(running, default=None),
        "running_mean": _mean(running),
        "waiting_max": max(waiting, default=None),
        "waiting_mean": _mean(waiting),
        "kv_cache_max": max(_told(look.kv_cache for look in looks), default=None),
        "prompt_tokens_per_s": _rate([(at, look.prompt_tokens) for at, look in readings]),
        "generated_tokens_per_s": _rate([(at, look.generated_tokens) for at, look in readings]),
        "preemptions": _increase([(at, look.preemptions) for at, look in readings]),
        "samples": len(readings),
    }


def gpu_summary(names: Iterable[str], readings: list[GpuReading]) -> GpuSummary | None:
    """Readings in one summary; None without any."""
    if not readings:
        return None
    means = [statistics.fmean(device) for device in zip(*(each.utilization for each in readings), strict=True)]
    return {
        "devices": list(names),
        "utilization": round(max(means), 3),
        "utilization_max": max(max(each.utilization) for each in readings),
        "memory_gib": round(max(sum(each.memory) for each in readings) / _GIB, 3),
    }


def _steps(counts: list[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """(seconds, increase) from each look to the next; a server that began anew in between counts from there."""
    known = [(at, count) for at, count in counts if count is not None]
    steps = [(later - sooner, more - less) for (sooner, less), (later, more) in itertools.pairwise(known)]
    return [(seconds, increase) for seconds, increase in steps if increase >= 0]


def _rate(counts: list[tuple[float, float | None]]) -> float | None:
    """The increase a second, over the steps in which there was any."""
    working = [(seconds, increase) for seconds, increase in _steps(counts) if increase > 0]
    spent = sum(seconds for seconds, _ in working)
    return round(sum(increase for _, increase in working) / spent, 1) if spent else None


def _increase(counts: list[tuple[float, float | None]]) -> float | None:
    steps = _steps(counts)
    return sum(increase for _, increase in steps) if steps else None


def _told(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and value == value]  # noqa: PLR0124  # NaN is not itself


def _mean(values: list[float]) -> float | None:
    return round(statistics.fmean(values), 2) if values else None


@dataclasses.dataclass(frozen=True, slots=True)
class GpuReading:
    """One look: the share of time (0 to 1) that each device computed, and the bytes in use on each."""

    utilization: tuple[float, ...]
    memory: tuple[int, ...]


class Gpus:
    """The devices of this machine. `read` takes milliseconds of waiting: call it beside an event loop, not in it."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        self.names = tuple(_text(nvml.nvmlDeviceGetName(handle)) for handle in self._handles)

    @classmethod
    def found(cls) -> Self | None:
        """The GPUs, or None where nvidia-ml-py, the driver or a device is missing."""
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            gpus = cls(pynvml)
        except pynvml.NVMLError as error:
            _log.info("no GPU is watched: %s", error)
            return None
        return gpus if gpus.names else None

    def read(self) -> GpuReading | None:
        """One look at all devices; None when the driver does not tell (some do not, inside virtual machines)."""
        nvml = self._nvml
        try:
            return GpuReading(
                tuple(nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100 for handle in self._handles),
                tuple(nvml.nvmlDeviceGetMemoryInfo(handle).used for handle in self._handles),
            )
        except nvml.NVMLError as error:
            _log.info("the GPU does not tell how busy it is: %s", error)
            return None


def _text(name: str | bytes) -> str:
    """Older versions of the package give bytes."""
    return name.decode() if isinstance(name, bytes) else name
