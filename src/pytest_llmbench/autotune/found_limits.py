"""What a session has found of its servers, question by question; several processes of one session share it on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune.document import Finding, Server, TargetLimits, TemperatureGrid
from pytest_llmbench.core.errors import LLMBenchError, error_of
from pytest_llmbench.core.files import InUseError, locked
from pytest_llmbench.core.journal import Journal
from pytest_llmbench.runs.context_document import ContextTarget
from pytest_llmbench.runs.typed import TypedDocument

if TYPE_CHECKING:
    from pytest_llmbench.autotune.targets import Target

_LOOK_EVERY_S = 0.2
Answer = Finding | TemperatureGrid | ContextTarget


class FoundLimit(TypedDocument):
    """The answer to one question about one target. `server` is what is known of who was asked."""

    url: str
    model: str | None
    question: str
    answer: Answer
    server: Server | None = None


class FoundLimits:
    """Keeps each answer once. With `shared`, a file, other processes see it and it outlives this one.

    Raises:
        NotReadyError: the disk refuses the shared file.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._shared = shared
        self._lines = Journal(shared)
        self._read: list[dict[str, Any]] = []
        self._found: list[FoundLimit] = []

    def add(self, found: FoundLimit) -> None:
        """Keep one more."""
        self._found.append(found)
        self._lines.append(found.json_ready())

    def give_up(self, error: LLMBenchError) -> None:
        """Note that the servers cannot be asked any more, so that no other process tries."""
        self._lines.append({"fault": str(error), "code": error.code, "names": error.names})

    def all(self) -> list[FoundLimit]:
        """In the order they were found, by whatever process."""
        if self._shared is not None:
            self._found = [FoundLimit.model_validate(line) for line in self._all_lines() if "fault" not in line]
        return list(self._found)

    def find(self, target: Target, question: str) -> Answer | None:
        """The answer, if it is known."""
        wanted = (target.url, target.model, question)
        return next((one.answer for one in self.all() if (one.url, one.model, one.question) == wanted), None)

    def documents(self) -> list[TargetLimits]:
        """One document a target, with all that was found of it, as reports take it; each has a name of its own."""
        asked: dict[tuple[str, str | None], tuple[Server, list[Answer]]] = {}
        for one in self.all():
            if one.server is not None:
                asked.setdefault((one.url, one.model), (one.server, []))[1].append(one.answer)
        named = Counter(server.name for server, _ in asked.values())
        return [_document(server, answers, alone=named[server.name] == 1) for server, answers in asked.values()]

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """One process at a time: two that ask at once would measure each other. A process that dies lets go.

        Raises:
            LLMBenchError: another process has given up; its fault, so that it is told once.
        """
        if self._shared is None:
            yield
            return
        with contextlib.ExitStack() as held:
            while True:  # as long as the other asks, whose searches have a budget
                with contextlib.suppress(InUseError):
                    held.enter_context(locked(_lock(self._shared), in_use="another process asks"))
                    break
                await asyncio.sleep(_LOOK_EVERY_S)
            self._refuse_given_up()
            yield

    def forget(self) -> None:
        """Remove the shared file: the session is over."""
        if self._shared is not None:
            self._shared.unlink(missing_ok=True)
            _lock(self._shared).unlink(missing_ok=True)

    def _refuse_given_up(self) -> None:
        for line in self._all_lines():
            if "fault" in line:
                raise error_of(line["code"], line["fault"], tuple(line["names"]))

    def _all_lines(self) -> list[dict[str, Any]]:
        """What all processes wrote, without the half lines of those that were killed."""
        for line in self._lines.unread():
            with contextlib.suppress(ValueError):
                self._read.append(json.loads(line))
        return self._read


def _document(server: Server, answers: Sequence[Answer], *, alone: bool) -> TargetLimits:
    return TargetLimits(
        name=server.name if alone else f"{server.name} at {server.url}",
        url=server.url,
        model_name=server.model_name,
        engine=server.engine,
        findings={answer.question: answer for answer in answers if isinstance(answer, Finding)},
        temperature=next((answer for answer in answers if isinstance(answer, TemperatureGrid)), None),
    )


def _lock(shared: Path) -> Path:
    return shared.with_suffix(".lock")
