"""Whether a server is there, and whether it is idle: one trial's abandoned work must not slow the next one down."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.generation.client.chat_request import probe_body
from pytest_llmbench.generation.client.refusals import Page
from pytest_llmbench.generation.client.server_address import chat_url, engine_url, page_url
from pytest_llmbench.load.prometheus import read_page

_log = logging.getLogger("pytest_llmbench")
_USUAL = (200, 404)  # of servers without gauges; any other status is a page that is kept from us
_PAUSE_S = 0.05
_READINGS = 2
"""Readings in a row that must say idle: between two steps of a server a single one may."""

_PROBES = 3
_SLACK_S = 0.02

_PRESENCE_PAUSE_S = 0.5
_TIMEOUT_S = 5.0


class IdleWatch:
    """Tells when a server is idle: by the gauges of its `/metrics`, else by how long a question of one token takes.

    The probe is the weaker of the two, since a server with a free slot and spare speed answers it as if idle. Made by
    `of` while the server is idle, which is when the probe's own time is measured. `gone` is why nobody answered the
    last wait, where nobody did.
    """

    def __init__(self, control: ChatClient, probe: Mapping[str, Any], probe_s: float | None) -> None:
        self._control = control
        self._probe = probe
        self._probe_s = probe_s
        self.gone: str | None = None

    @classmethod
    async def of(cls, control: ChatClient, body: Mapping[str, Any], timeout_s: float) -> IdleWatch:
        """Find out how this server tells. `body` is what its questions carry.

        Raises:
            ServerError: it answers neither.
        """
        probe = probe_body(body)
        page = await control.get(engine_url(control.url, "/metrics"), timeout_s)
        if _busy(page) is not None:
            return cls(control, probe, None)
        why = page.refused.reason if page.refused else "it has no gauges that are known"
        told = "%s tells nothing (%s): whether the server is idle is told by the time of a probe"
        _log.log(logging.INFO if page.status in _USUAL else logging.WARNING, told, page.sent, why)
        replies = [await control.ask(probe) for _ in range(_PROBES)]
        if failed := [reply for reply in replies if reply.error or reply.finish == "timeout"]:
            raise ServerError(
                f"POST {chat_url(control.url)}: a first question failed ({failed[0].error or 'no answer in time'})"
            )
        return cls(control, probe, statistics.median(reply.latency_s for reply in replies))

    async def wait(self, longest_s: float) -> float | None:
        """Seconds until the server was idle; None when it was not in the time allowed, or is gone, as `gone` tells."""
        started, idle, self.gone = time.monotonic(), 0, None
        try:
            async with asyncio.timeout(longest_s):
                while True:
                    idle = idle + 1 if await self._is_idle(longest_s) else 0
                    if idle == _READINGS:
                        return time.monotonic() - started
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            _log.warning("%s is still at work %g s after the load ended", self._control.url, longest_s)
        except ServerError as error:
            self.gone = str(error)
            _log.warning("%s", error)
        return None

    async def _is_idle(self, timeout_s: float) -> bool:
        if self._probe_s is None:
            return _busy(await self._control.get(engine_url(self._control.url, "/metrics"), timeout_s)) == 0
        reply = await self._control.ask(self._probe)
        return reply.error is None and reply.latency_s <= 2 * self._probe_s + _SLACK_S


def busy_requests(metrics: str) -> float | None:
    """How many requests are running or queued by a Prometheus page of a known server; None when it does not tell."""
    reading = read_page(metrics)
    told = [count for count in (reading.running, reading.waiting) if count is not None] if reading else []
    return sum(told) if told else None


def _busy(page: Page) -> float | None:
    return None if page.refused else busy_requests(page.text)


class Presence:
    """Asks whether a server is there, in the way that it could be asked to begin with.

    A server that listed its models is there when it lists them again, which one that is still loading them refuses.
    One that never did is asked the question of one token that `body` makes.
    """

    def __init__(self, control: ChatClient, body: Mapping[str, Any], *, lists_models: bool) -> None:
        self._control = control
        self._probe = probe_body(body)
        self._lists_models = lists_models

    async def answers(self) -> bool:
        """Whether it is there now."""
        try:
            if self._lists_models:
                page = await self._control.get(page_url(self._control.url, "/models"), _TIMEOUT_S)
                return page.refused is None
            async with asyncio.timeout(_TIMEOUT_S):
                return (await self._control.ask(self._probe)).error is None
        except (ServerError, TimeoutError):
            return False

    async def returned(self, longest_s: float, is_hopeless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the server answers, for so long at most, or until that is hopeless; whether it did."""
        try:
            async with asyncio.timeout(longest_s):
                while not await self.answers():
                    if is_hopeless():
                        return False
                    await asyncio.sleep(min(_PRESENCE_PAUSE_S, longest_s / 10))
        except TimeoutError:
            return False
        return True
