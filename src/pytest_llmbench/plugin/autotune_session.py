"""What the autotune items of one pytest process share: who is asked, the loop that asks, and what was found.

Nothing here happens in a session that has no item asking for `server_limits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.plugin.server_session import ServerSession

if TYPE_CHECKING:
    from pytest_llmbench.autotune.found_limits import Answer
    from pytest_llmbench.autotune.limit_search import LimitSearch, Question
    from pytest_llmbench.autotune.server import Target
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.metrics import MetricRegistry

AUTOTUNE = pytest.StashKey["AutotuneSession"]()
FIXTURE = "server_limits"
ASKS_FOR_USERS = "test_max_concurrent_users"
"""The item on whose answer others build: it is asked first, whatever the order of items and processes."""

MARKER = "autotune"
_HOLD_USERS = ("history", "max_tokens")


class AutotuneSession(ServerSession):
    """Asks each question about each target once."""

    marker = MARKER

    def __init__(self, config: pytest.Config, token: str) -> None:
        super().__init__(config, token)
        self._users_first: set[Target | None] = set()
        self._search: LimitSearch | None = None

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

    async def ask(self, question: Question, target: Target | None) -> Answer:
        """The answer to one question. Raises what `LimitSearch.ask` and `with_server` raise."""
        return await self._awaited(self._asked(question, target))

    async def _asked(self, question: Question, target: Target | None) -> Answer:
        from pytest_llmbench.autotune.server import targets_of

        search = await self._opened()
        asked = target or targets_of(search.settings)[0]
        if question in _HOLD_USERS and target in self._users_first and search.settings.load.users is None:
            await search.ask(asked, "users")
        return await search.ask(asked, question)

    async def _opened(self) -> LimitSearch:
        from pytest_llmbench.autotune.limit_search import LimitSearch
        from pytest_llmbench.autotune.targets import with_server

        if self._search is None:
            settings = await with_server(self._given)
            self._search = LimitSearch(
                settings, self.found, resume=self._resumes, scoring=self._scoring, tell=self._tell
            )
        return self._search

    async def _let_go(self) -> None:
        if self._search is not None:
            await self._search.__aexit__()

    def _scoring(self) -> tuple[Sequence[Case], MetricRegistry]:
        return self._ours.cases, self._ours.registry
