"""What a test of a live server's limits is written with: the object behind the fixture `server_limits`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import pytest

from pytest_llmbench.plugin.autotune_session import AUTOTUNE, AutotuneSession
from pytest_llmbench.plugin.session import ending

if TYPE_CHECKING:
    from pytest_llmbench.autotune.document import Finding, TemperatureGrid
    from pytest_llmbench.autotune.found_limits import Answer
    from pytest_llmbench.autotune.limit_search import Question
    from pytest_llmbench.autotune.targets import Target

_log = logging.getLogger("pytest_llmbench")


class ServerLimits:
    """Asks about the limits of the server under test; each question is searched once in a session.

    What goes wrong with the server or the settings ends the session with one message.
    """

    def __init__(self, session: AutotuneSession, target: Target | None, pytest_session: pytest.Session) -> None:
        self._session, self._target, self._pytest_session = session, target, pytest_session

    async def max_users(self) -> Finding:
        """The most users for whom the promise (SLO) holds, with interval, curve and trials."""
        return cast("Finding", await self._ask("users"))

    async def max_rate(self) -> Finding:
        """The most requests a second, when people come at random."""
        return cast("Finding", await self._ask("rate"))

    async def max_history(self) -> Finding:
        """The most messages of history, with `load.users` users or as many as the server holds."""
        return cast("Finding", await self._ask("history"))

    async def max_tokens(self) -> Finding:
        """The longest answers, with as many users, and the share of answers that is cut off there."""
        return cast("Finding", await self._ask("max_tokens"))

    async def temperature(self) -> TemperatureGrid:
        """The metrics of the main job at each of `load.temperatures`."""
        return cast("TemperatureGrid", await self._ask("temperature"))

    def check(self, finding: Finding) -> None:
        """Fail the test unless the required users are surely held; nothing is required by default."""
        settings = self._session.settings
        if settings.load.require_users is None:
            return
        from pytest_llmbench.autotune.capacity_gate import judge_requirement

        verdict = judge_requirement(finding, settings.load.require_users, settings.gate.inconclusive)
        if verdict.failed:
            pytest.fail(verdict.message, pytrace=False)
        if verdict.outcome == "unsure":
            _log.warning("%s", verdict.message)

    async def _ask(self, question: Question) -> Answer:
        with ending(self._pytest_session):
            return await self._session.ask(question, self._target)


def limits_of(request: pytest.FixtureRequest) -> ServerLimits:
    """What the fixture gives a test."""
    session = request.config.stash[AUTOTUNE]
    return ServerLimits(session, getattr(request, "param", None), request.session)
