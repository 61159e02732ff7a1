"""Stands in for the server under test in the plugin's own tests: answers at once from a file, and keeps a log.

It is copied into the project of each test, whose `conftest.py` puts it in the place of `ServerUnderTest`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any, Self

from pytest_llmbench.autotune.document import Finding, Server
from pytest_llmbench.autotune.progress_events import Look
from pytest_llmbench.core.errors import ServerError

LOG = Path("asked.log")


class ServerDouble:
    """Writes `question model users-known-before resume process start end` of each question into the log."""

    answering_s = 0.0

    def __init__(self, settings: Any, target: Any, *, resume: bool = False, progress: Any = None) -> None:
        self.target, self.findings = target, dict[str, Any]()
        self._settings, self._resume, self._tell = settings, resume, progress

    async def __aenter__(self) -> Self:
        if "gone" in self.target.url:
            raise ServerError(f"{self.target.url}: nobody answers; start the server")
        return self

    async def __aexit__(self, *_: object) -> None:
        LOG.with_suffix(".closed").touch()

    @property
    def model(self) -> str:
        return self.target.model or "the-only-one"

    @property
    def about(self) -> Server:
        return Server(name=self.model, url=self.target.url, model_name=self.model, engine="double")

    async def max_users(self) -> Any:
        return await self._answer("users", "users")

    async def max_rate(self) -> Any:
        return await self._answer("rate", "requests/s")

    async def max_history(self) -> Any:
        return await self._answer("history", "messages")

    async def max_tokens(self) -> Any:
        return await self._answer("max_tokens", "tokens")

    async def _answer(self, question: str, unit: str) -> Any:
        known, started = "users" in self.findings, time.monotonic()
        for verdict in ("held so far, 1 of 2", "held, 24 of 24", "begins"):
            estimate = "11 users (9 to 12)" if verdict == "held, 24 of 24" else ""
            over = verdict == "held, 24 of 24"
            self._tell(Look(question, self.model, 8.0, unit, verdict, estimate, 24, 1976, over, kept=True))
        await asyncio.sleep(self.answering_s)
        self.findings[question] = Finding.model_validate({**self._found(), "question": question, "unit": unit})
        _note(question, self.model, known, self._resume, os.getpid(), started, time.monotonic())
        return self.findings[question]

    def _found(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path("finding.json").read_text(encoding="utf-8"))
        chance = found["chances_at_least"].get(str(self._settings.load.require_users))
        return {**found, "chance_required": chance}


def _note(*words: object) -> None:
    with LOG.open("a", encoding="utf-8") as log:
        log.write(" ".join(map(str, words)) + "\n")
