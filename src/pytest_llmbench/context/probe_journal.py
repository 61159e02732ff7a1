"""The probes of a context test on disk, so that a stopped session goes on without sending a prompt twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pytest_llmbench.context.refusals import BUSY
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.journal import Journal
from pytest_llmbench.runs.context_document import ProbeDocument

if TYPE_CHECKING:
    from pytest_llmbench.context.questions import Asker, ContextQuestion


class ProbeJournal:
    """One JSON line that says what is tested, then one a probe, each on disk before the next prompt is sent.

    `identity` is all that the probes depend on: server, model, promise, what is asked. Without a path nothing is kept.
    Half a line that a killed process left is cut off. A prompt that a server had no time for is asked again. The last
    line of a test that came to its end says so.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        """Read what is there.

        Raises:
            UsageError: the file belongs to another test, or is no journal.
            NotReadyError: the disk refuses.
        """
        self._lines = Journal(path)
        self._known: dict[str, ProbeDocument] = {}
        self._finished = False
        lines = self._lines.take_over()
        if lines:
            self._read(lines, json.loads(json.dumps(identity)))
        else:
            self._lines.append({"context": dict(identity)}, durable=True)
        self.resumed = len(self._known)

    @property
    def probes(self) -> list[ProbeDocument]:
        """All of them, in the order they were made."""
        return list(self._known.values())

    def find(self, name: str) -> ProbeDocument | None:
        """The probe of that id, if it was made."""
        return self._known.get(name)

    def add(self, probe: ProbeDocument) -> None:
        """Append one. Raises NotReadyError when the disk refuses."""
        self._lines.append({"probe": probe.model_dump(mode="json")}, durable=True)
        self._known[probe.id] = probe
        self._finished = False

    def finish(self) -> None:
        """Note once that the test came to its end. Raises NotReadyError when the disk refuses."""
        if not self._finished:
            self._lines.append({"finished": True}, durable=True)
            self._finished = True

    def _read(self, lines: list[bytes], identity: Mapping[str, Any]) -> None:
        try:
            found = json.loads(lines[0])["context"]
            other = sorted(key for key in {*found, *identity} if found.get(key) != identity.get(key))
            entries = [json.loads(line) for line in lines[1:]]
            probes = [ProbeDocument.model_validate(one["probe"]) for one in entries if "finished" not in one]
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            message = f"this is no journal of a context test ({error}); delete the file"
            raise UsageError(located(str(self._lines.path), None, message)) from error
        if other:
            message = f"these probes are of another test: {', '.join(other)} not the same; begin anew, without resuming"
            raise UsageError(located(str(self._lines.path), 1, message), names=("resume",))
        self._known = {probe.id: probe for probe in probes if not _had_no_time(probe)}
        self._finished = bool(entries) and "finished" in entries[-1]


def _had_no_time(probe: ProbeDocument) -> bool:
    return probe.refusal is not None and probe.refusal.code == "http" and probe.refusal.status in BUSY


class Remembering:
    """Asks each question once: what the journal has is not asked again. `told` hears of each probe as it comes."""

    def __init__(
        self, asker: Asker, journal: ProbeJournal, told: Callable[[ProbeDocument], None] = lambda _probe: None
    ) -> None:
        self._asker, self._journal, self._told = asker, journal, told

    async def ask(self, question: ContextQuestion) -> ProbeDocument:
        """See `Asker`."""
        known = self._journal.find(question.id)
        return self._kept(await self._asker.ask(question)) if known is None else known

    async def ask_together(self, questions: Sequence[ContextQuestion]) -> list[ProbeDocument]:
        """See `Asker`. All are asked again where one is not known: alone they would tell something else."""
        known = [self._journal.find(question.id) for question in questions]
        if all(known):
            return [probe for probe in known if probe]
        return [self._kept(probe) for probe in await self._asker.ask_together(questions)]

    def _kept(self, probe: ProbeDocument) -> ProbeDocument:
        self._journal.add(probe)
        self._told(probe)
        return probe
