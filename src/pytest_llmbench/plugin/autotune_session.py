"""What the autotune items of one pytest process share: who is asked, the loop that asks, and what was found.

Nothing here happens in a session that has no item asking for `server_limits`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.session import SESSION, Session

if TYPE_CHECKING:
    import asyncio

    from pytest_llmbench.autotune.found_limits import FoundLimits
    from pytest_llmbench.autotune.limit_search import LimitSearch, Question
    from pytest_llmbench.autotune.server import Target
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.client.background_loop import BackgroundLoop
    from pytest_llmbench.metrics import MetricRegistry

AUTOTUNE = pytest.StashKey["AutotuneSession"]()
FIXTURE = "server_limits"
ASKS_FOR_USERS = "test_max_concurrent_users"
"""The item on whose answer others build: it is asked first, whatever the order of items and processes."""

MARKER = "autotune"
_HOLD_USERS = ("history", "max_tokens")


class AutotuneSession:
    """Asks from a thread with a loop of its own, so that one connection serves items whose loops come and go."""

    def __init__(self, config: pytest.Config, token: str) -> None:
        self._config, self._token = config, token
        self._ours: Session = config.stash[SESSION]
        self._users_first: set[Target | None] = set()
        self._loop: BackgroundLoop | None = None
        self._search: LimitSearch | None = None
        self._task: asyncio.Task[Any] | None = None
        self._last_line = ""

    @property
    def targets(self) -> Mapping[str, Target]:
        """What the settings compare, by the names of items; none where one server is asked, whichever that will be."""
        if not self._given.load.targets:
            return {}
        from pytest_llmbench.autotune.server import targets_of

        targets = targets_of(self._given)
        models = {target.model for target in targets}
        if None not in models and len(models) == len(targets):
            return {str(target.model): target for target in targets}
        return {f"{target.model or ''}@{target.url.rpartition('//')[2]}": target for target in targets}

    @functools.cached_property
    def _given(self) -> Settings:
        """The session's settings; a server on the command line takes the place of all targets in the file."""
        settings = self._ours.settings
        if self._config.getoption(options.SERVER.dest) is None:
            return settings
        return settings.model_copy(update={"load": settings.load.model_copy(update={"targets": ()})})

    @property
    def settings(self) -> Settings:
        """As they are; once somebody was asked, with the server in them that was found."""
        return self._search.settings if self._search else self._given

    def plan(self, items: Iterable[pytest.Item]) -> None:
        """Remember about whom the most users will be asked."""
        for item in items:
            if isinstance(item, pytest.Function) and item.originalname == ASKS_FOR_USERS:
                callspec = getattr(item, "callspec", None)
                self._users_first.add(callspec.params.get(FIXTURE) if callspec else None)

    @functools.cached_property
    def found(self) -> FoundLimits:
        """What is known; on disk where several processes share the work."""
        from pytest_llmbench.autotune.found_limits import FoundLimits

        return FoundLimits(self.shared)

    @property
    def shared(self) -> Path | None:
        """The file that processes of pytest-xdist share; None where there is one process."""
        if not hasattr(self._config, "workerinput"):
            return None
        return self._ours.settings.output.report_dir / MARKER / f"session-{self._token}.jsonl"

    async def ask(self, question: Question, target: Target | None) -> Mapping[str, Any]:
        """The answer to one question. Raises what `LimitSearch.ask` and `with_server` raise."""
        import asyncio

        from pytest_llmbench.generation.client.background_loop import BackgroundLoop

        self._ours.announcements  # noqa: B018  # listening starts before anything is asked
        self._loop = self._loop or BackgroundLoop()
        try:
            return await asyncio.wrap_future(self._loop.submit(self._asked(question, target)))
        finally:
            self._ours.line.settle(self._shown())

    def close(self) -> dict[str, Any]:
        """End what is under way and let go of the servers; what the session's end needs to know, as plain data."""
        if self._loop is None:
            return {}
        self._loop.run(self._let_go())
        self._loop.close()
        self._loop = None
        notes = list(self._ours.announcements.messages)
        if self._task is not None and self._last_line:
            notes.append(f"stopped in mid-search: {self._last_line}; its trials are kept, go on with --llmbench-resume")
        return {"shared": str(self.shared) if self.shared else None, "notes": notes}

    async def _asked(self, question: Question, target: Target | None) -> Mapping[str, Any]:
        import asyncio

        from pytest_llmbench.autotune.server import targets_of

        self._task = asyncio.current_task()
        search = await self._opened()
        asked = target or targets_of(search.settings)[0]
        if question in _HOLD_USERS and target in self._users_first and search.settings.load.users is None:
            await search.ask(asked, "users")
        answer = await search.ask(asked, question)
        self._task = None
        return answer

    async def _opened(self) -> LimitSearch:
        from pytest_llmbench.autotune.limit_search import LimitSearch
        from pytest_llmbench.autotune.targets import with_server

        if self._search is None:
            settings = await with_server(self._given)
            resume = self._config.getoption(options.RESUME.dest) is not None
            self._search = LimitSearch(settings, self.found, resume=resume, scoring=self._scoring, tell=self._tell)
        return self._search

    async def _let_go(self) -> None:
        import asyncio

        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._search is not None:
            await self._search.__aexit__()

    def _scoring(self) -> tuple[Sequence[Case], MetricRegistry]:
        return self._ours.cases, self._ours.registry

    def _tell(self, text: str, stays: bool) -> None:  # noqa: FBT001  # what a line is, told by name where it is made
        self._last_line = text
        if self._ours.line.renews:
            self._ours.line.show(self._shown())
        elif stays:
            self._ours.line.say(text)

    def _shown(self) -> str:
        """The last line, cut to the terminal's width: what wraps cannot be renewed."""
        width = int(self._config.get_terminal_writer().fullwidth) - 1
        return f"llmbench: {self._last_line}"[:width]
