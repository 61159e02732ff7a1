"""Asking servers for their limits, question by question, as the items of a session or one command need them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

from pytest_llmbench.autotune.document import Finding, TemperatureGrid
from pytest_llmbench.autotune.found_limits import Answer, FoundLimit, FoundLimits
from pytest_llmbench.autotune.model_limits import refuse_other_file
from pytest_llmbench.core.errors import LLMBenchError

if TYPE_CHECKING:
    from pytest_llmbench.autotune.server import Look, ServerUnderTest, Target
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import MetricRegistry

Question = Literal["users", "rate", "history", "max_tokens", "temperature"]
Tell = Callable[[str, bool], None]
"""Shows how it stands: a line, and whether it stays (a trial is over) or only until the next one.

An empty one tells that nothing is under way that could be gone on with.
"""
Scoring = Callable[[], "tuple[Sequence[Case], MetricRegistry]"]
"""What temperatures are judged by; called when it is asked for."""


class LimitSearch:
    """Asks each question about each target once; every answer is kept in `found`. An async context manager.

    Args:
        settings: how targets are asked, and with what promise.
        found: where answers are kept, and looked for first.
        resume: go on from the journals of a search that was stopped.
        scoring: cases and metrics for the temperature.
        tell: shows how it stands.
    """

    def __init__(self, settings: Settings, found: FoundLimits, *, resume: bool, scoring: Scoring, tell: Tell) -> None:
        self.settings = settings
        self._found, self._resume = found, resume
        self._scoring, self._tell = scoring, tell
        self._servers: dict[Target, ServerUnderTest] = {}
        self._opened = contextlib.AsyncExitStack()
        self._several = len(settings.load.targets) > 1
        self._kept = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._servers.clear()
        await self._opened.aclose()

    async def ask(self, target: Target, question: Question) -> Answer:
        """The `Finding`, or for the temperature the `TemperatureGrid`; searched unless it is known.

        Raises:
            UsageError, NotReadyError: as `ServerUnderTest` and `temperature_grid` raise them, and where `load.out` is a
                file of something else.
        """
        async with self._found.asking():
            known = self._found.find(target, question)
            if known is not None:
                return known
            try:
                return await self._search(target, question)
            except LLMBenchError as error:
                self._found.give_up(error)
                raise

    async def _search(self, target: Target, question: Question) -> Answer:
        if question != "temperature":
            refuse_other_file(self.settings.load.out)
        server = await self._server(target)
        searches: Mapping[Question, Callable[[], Awaitable[Answer]]] = {
            "users": server.max_users,
            "rate": server.max_rate,
            "history": server.max_history,
            "max_tokens": server.max_tokens,
            "temperature": functools.partial(self._temperature, server),
        }
        self._announce(target, question)
        self._kept = False
        try:
            answer = await searches[question]()
        except BaseException:
            if not self._kept:
                self._tell("", False)  # noqa: FBT003  # nothing of it is kept to go on with
            raise
        self._found.add(
            FoundLimit(url=target.url, model=target.model, question=question, answer=answer, server=server.about)
        )
        return answer

    def _announce(self, target: Target, question: Question) -> None:
        """Say what it may take, before it does."""
        load, line = self.settings.load, f"{question} | begins"
        if question != "temperature":
            line += f": {load.budget} requests at most"
            line += f", about {load.time_limit:g} s" if load.time_limit else ""
        self._say(target.model or target.url, line, stays=True)

    async def _server(self, target: Target) -> ServerUnderTest:
        """Opened once. Who is held while other limits are searched may have been found by another process."""
        from pytest_llmbench.autotune.server import ServerUnderTest

        if target not in self._servers:
            server = ServerUnderTest(self.settings, target, resume=self._resume, progress=self._look)
            self._servers[target] = await self._opened.enter_async_context(server)
        if isinstance(users := self._found.find(target, "users"), Finding):
            self._servers[target].findings["users"] = users
        return self._servers[target]

    async def _temperature(self, server: ServerUnderTest) -> TemperatureGrid:
        from pytest_llmbench.autotune.temperature_grid import temperature_grid
        from pytest_llmbench.generation.completion_store import drop_journal
        from pytest_llmbench.load.search_journal import claimed

        asked = {"url": server.target.url, "model": server.model}
        settings = self.settings.model_copy(update={"server": self.settings.server.model_copy(update=asked)})
        cases, metrics = self._scoring()
        told, kept = functools.partial(self._graded, server.model), server.path_of("temperature")
        with claimed(kept):
            if not self._resume:
                drop_journal(kept.with_suffix(""))
            return await temperature_grid(settings, cases, metrics, told, folder=kept.with_suffix(""))

    def _look(self, look: Look) -> None:
        self._kept = look.kept
        parts = [look.question, f"at {look.level:.4g}: {look.verdict}", look.estimate, f"{look.left} left"]
        self._say(look.target, " | ".join(part for part in parts if part), stays=look.over)

    def _graded(self, target: str, temperature: float, done: int, wanted: int) -> None:
        self._kept = True
        line = f"temperature | at {temperature:g}: {done} of {wanted} answers"
        self._say(target, line, stays=done == wanted)

    def _say(self, target: str, line: str, *, stays: bool) -> None:
        self._tell(f"{target} | {line}" if self._several else line, stays)
