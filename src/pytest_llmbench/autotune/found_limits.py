"""What a session has found of its servers, question by question; several processes of one session share it on disk."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from pytest_llmbench.core.errors import LLMBenchError, error_of
from pytest_llmbench.core.files import InUseError, locked
from pytest_llmbench.core.journal import Journal

if TYPE_CHECKING:
    from pytest_llmbench.autotune.server import Target

_LOOK_EVERY_S = 0.2
TEMPERATURE = "temperature"
"""The question that is no search: its answer is a `TemperatureGrid`."""


class TargetReport(TypedDict):
    """One server, or one model of it: what was asked (question -> Finding), and the quality by temperature."""

    name: str
    url: str
    model_name: str | None
    engine: str | None
    findings: Mapping[str, Mapping[str, Any]]
    temperature: NotRequired[Mapping[str, Any] | None]


@dataclasses.dataclass(frozen=True, slots=True)
class FoundLimit:
    """The answer to one question about one target. `server` is what is known of who was asked, as reports take it."""

    url: str
    model: str | None
    question: str
    finding: Mapping[str, Any]
    server: Mapping[str, Any]


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
        self._lines.append(dataclasses.asdict(found))

    def give_up(self, error: LLMBenchError) -> None:
        """Note that the servers cannot be asked any more, so that no other process tries."""
        self._lines.append({"fault": str(error), "code": error.code, "names": error.names})

    def all(self) -> list[FoundLimit]:
        """In the order they were found, by whatever process."""
        if self._shared is not None:
            self._found = [FoundLimit(**line) for line in self._all_lines() if "fault" not in line]
        return list(self._found)

    def find(self, target: Target, question: str) -> Mapping[str, Any] | None:
        """The answer, if it is known."""
        wanted = (target.url, target.model, question)
        return next((one.finding for one in self.all() if (one.url, one.model, one.question) == wanted), None)

    def documents(self) -> list[TargetReport]:
        """One document a target, with all that was found of it, as reports take it; each has a name of its own."""
        answers: dict[tuple[str, str | None], list[FoundLimit]] = {}
        for one in self.all():
            answers.setdefault((one.url, one.model), []).append(one)
        named = Counter(known[0].server["name"] for known in answers.values())
        return [_document(known, alone=named[known[0].server["name"]] == 1) for known in answers.values()]

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
        self._read += map(json.loads, self._lines.unread())
        return self._read


def _document(known: Sequence[FoundLimit], *, alone: bool) -> TargetReport:
    server = known[0].server
    findings = {one.question: one.finding for one in known}
    return {
        "name": server["name"] if alone else f"{server['name']} at {server['url']}",
        "url": server["url"],
        "model_name": server["model_name"],
        "engine": server["engine"],
        "temperature": findings.pop(TEMPERATURE, None),
        "findings": findings,
    }


def _lock(shared: Path) -> Path:
    return shared.with_suffix(".lock")
