"""What the items of one pytest process share that ask a live server: a loop that asks, what was found, a live line."""

from __future__ import annotations

import functools
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from pytest_llmbench.core.announcing import STOPPED_IN_SEARCH, Announcement
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.session import SESSION, Session

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from pytest_llmbench.autotune.found_limits import FoundLimits
    from pytest_llmbench.autotune.server import Target
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.client.background_loop import BackgroundLoop

T = TypeVar("T")


class ServerSession:
    """Asks from a thread with a loop of its own, so that one connection serves items whose loops come and go.

    A subclass says in which folder of the reports its journals are (`marker`), and lets go of what it opened.
    """

    marker: ClassVar[str]

    def __init__(self, config: pytest.Config, token: str) -> None:
        self._config, self._token = config, token
        self._ours: Session = config.stash[SESSION]
        self._loop: BackgroundLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._last_line = self._to_go_on_with = ""

    @property
    def targets(self) -> Mapping[str, Target]:
        """What the settings compare, by the names of items; none where one server is asked, whichever that will be."""
        try:
            given = self._given
        except UsageError:  # which whoever asks for one is told; others, that `-k` may select, need names alone
            given = self._ours.settings
        if not given.load.targets:
            return {}
        from pytest_llmbench.autotune.server import targets_of

        targets = targets_of(given)
        models = {target.model for target in targets}
        if None not in models and len(models) == len(targets):
            return {str(target.model): target for target in targets}
        return {f"{target.model or ''}@{target.url.rpartition('//')[2]}": target for target in targets}

    @functools.cached_property
    def _given(self) -> Settings:
        """The session's settings; a server on the command line takes the place of all targets in the file.

        A model without a server is one of those targets.
        """
        settings, model = self._ours.settings, self._config.getoption(options.SERVER_MODEL.dest)
        if self._config.getoption(options.SERVER.dest) is None:
            from pytest_llmbench.autotune.targets import with_targets_of

            return settings if model is None else with_targets_of(settings, model)
        return settings.model_copy(update={"load": settings.load.model_copy(update={"targets": ()})})

    @functools.cached_property
    def found(self) -> FoundLimits:
        """What is known; on disk where several processes share the work."""
        from pytest_llmbench.autotune.found_limits import FoundLimits

        return FoundLimits(self.shared)

    @property
    def shared(self) -> Path | None:
        """The file that processes of pytest-xdist share; None where there is one process."""
        return self.file_of_workers if hasattr(self._config, "workerinput") else None

    @property
    def file_of_workers(self) -> Path:
        """Where those that there may be keep what they find, also for the process that started them."""
        return self._ours.settings.output.report_dir / self.marker / f"session-{self._token}.jsonl"

    def close(self) -> dict[str, Any]:
        """End what is under way and let go of the servers; what the session's end needs to know, as plain data."""
        if self._loop is None:
            return {}
        self._loop.run(self._end())
        self._loop.close()
        self._loop = None
        announcements = self._ours.announcements
        if self._task is not None and self._to_go_on_with:
            stopped = Announcement(STOPPED_IN_SEARCH, (self._to_go_on_with, "--llmbench-resume"))
            announcements.warnings[stopped.said] = stopped
        return {"shared": str(self.shared) if self.shared else None, "notes": announcements.recorded()}

    async def _awaited(self, asking: Coroutine[Any, Any, T]) -> T:
        """What the coroutine, run in the session's own loop, returns or raises."""
        import asyncio

        try:
            return await asyncio.wrap_future(self._submitted(asking))
        finally:
            self._ours.line.settle(self._shown())

    def _waited_for(self, asking: Coroutine[Any, Any, T]) -> T:
        """The same, for tests that are not asynchronous."""
        try:
            return self._submitted(asking).result()
        finally:
            self._ours.line.settle(self._shown())

    def _submitted(self, asking: Coroutine[Any, Any, T]) -> Future[T]:
        from pytest_llmbench.generation.client.background_loop import BackgroundLoop

        self._ours.announcements  # noqa: B018  # listening starts before anything is asked
        self._loop = self._loop or BackgroundLoop()
        return self._loop.submit(self._noted(asking))

    async def _noted(self, asking: Coroutine[Any, Any, T]) -> T:
        """Run it as what is under way, until it has an answer."""
        import asyncio

        self._task = asyncio.current_task()
        answer = await asking
        self._task = None
        return answer

    async def _let_go(self) -> None:
        """Close what was opened."""

    async def _end(self) -> None:
        import asyncio

        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._let_go()

    @property
    def _resumes(self) -> bool:
        return self._config.getoption(options.RESUME.dest) is not None

    def _tell(self, text: str, stays: bool) -> None:  # noqa: FBT001  # what a line is, told by name where it is made
        self._to_go_on_with = text
        if not text:
            return
        self._last_line = text
        if self._ours.line.renews:
            self._ours.line.show(self._shown())
        elif stays:
            self._ours.line.say(text)

    def _shown(self) -> str:
        """The last line, cut to the terminal's width: what wraps cannot be renewed."""
        width = int(self._config.get_terminal_writer().fullwidth) - 1
        return f"llmbench: {self._last_line}"[:width]
