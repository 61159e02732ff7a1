"""What the context items of one pytest process share: one test of each server, and the object that items ask.

Nothing here happens in a session that has no item asking for `server_context`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from pytest_llmbench.plugin import options
from pytest_llmbench.plugin.server_session import ServerSession
from pytest_llmbench.plugin.session import ending

if TYPE_CHECKING:
    from pytest_llmbench.autotune.server import Target
    from pytest_llmbench.context.session import ContextTest as Tests
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.runs.context_document import ContextTarget, LimitDocument, LimitName

CONTEXT = pytest.StashKey["ContextSession"]()
FIXTURE = "server_context"
_log = logging.getLogger("pytest_llmbench")


class ContextSession(ServerSession):
    """Tests each target once, whichever item asks first."""

    marker = "context"

    def __init__(self, config: pytest.Config, token: str) -> None:
        super().__init__(config, token)
        self._tests: Tests | None = None

    @property
    def settings(self) -> Settings:
        """As they are; once somebody was asked, with the server in them that was found."""
        return self._tests.settings if self._tests else self._given

    def check_baseline(self, *, alone: bool) -> None:
        """Refuse a run to compare with that is not there, and a gate that was asked for without one.

        Beside a benchmark, where the session is not `alone`, a gate may be meant for that one.

        Raises:
            UsageError: there is no such run.
        """
        from pytest_llmbench.context.session import context_baseline, refuse_gate_alone

        if alone and options.chosen(self._config, options.GATE):
            refuse_gate_alone(self._given.gate.kind, self._given.gate.baseline)
        context_baseline(self._given)

    def ask(self, target: Target | None) -> ContextTarget:
        """What was found of a target. Raises what `ContextSession.ask` and `with_server` raise."""
        return self._waited_for(self._asked(target))

    async def _asked(self, target: Target | None) -> ContextTarget:
        from pytest_llmbench.autotune.server import targets_of
        from pytest_llmbench.autotune.targets import with_server
        from pytest_llmbench.context.session import ContextTest as Tests

        if self._tests is None:
            settings = await with_server(self._given)
            self._tests = Tests(settings, self.found, resume=self._resumes, tell=self._tell)
        return await self._tests.ask(target or targets_of(self._tests.settings)[0])


class ServerContext:
    """Asks how long a context the server under test holds; it is tested once in a session.

    What goes wrong with the server or the settings ends the session with one message.
    """

    def __init__(self, session: ContextSession, target: Target | None, pytest_session: pytest.Session) -> None:
        self._session, self._target, self._pytest_session = session, target, pytest_session

    @property
    def found(self) -> ContextTarget:
        """All that was found: probes, limits, findings, and what follows from them."""
        with ending(self._pytest_session):
            return self._session.ask(self._target)

    def accepted(self) -> LimitDocument | None:
        """The longest prompt that the server takes, to the token."""
        return self._checked("accepted")

    def in_time(self) -> LimitDocument | None:
        """The longest prompt for which the promise holds (`load.latency`, `load.quantile`), with its interval."""
        return self._checked("in_time")

    def right(self) -> LimitDocument | None:
        """The longest prompt in which no fewer facts are found than in the shortest, with its interval."""
        return self._checked("right")

    def _checked(self, name: LimitName) -> LimitDocument | None:
        """The limit. With `context.require` the test fails unless it is surely as long as that."""
        found, settings = self.found, self._session.settings
        if settings.context.require is not None:
            from pytest_llmbench.context.requirement import judge_context

            verdict = judge_context(found, settings.context.require, settings.gate.inconclusive, name)
            if verdict.failed:
                pytest.fail(verdict.message, pytrace=False)
            if verdict.outcome == "unsure":
                _log.warning("%s", verdict.message)
        return dict(found.limits.sought()).get(name)


def context_of(request: pytest.FixtureRequest) -> ServerContext:
    """What the fixture gives a test."""
    return ServerContext(request.config.stash[CONTEXT], getattr(request, "param", None), request.session)
