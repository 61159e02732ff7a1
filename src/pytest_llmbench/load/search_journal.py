"""The trials of a search on disk, so that a killed search resumes where it stopped."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.core.errors import NotReadyError, UsageError, located
from pytest_llmbench.core.files import locked
from pytest_llmbench.core.journal import Journal
from pytest_llmbench.load.reasons import Code
from pytest_llmbench.stats.observation import Observation


@dataclass(frozen=True, slots=True)
class InvalidTrial:
    """A trial that says nothing about the server, and why: the client was the bottleneck, say. `sent` is its cost.

    `code` is the reason for programs, empty in journals of before it was kept. `mended` tells that its cause is gone,
    such as a server that is back: it is no reason to give up. `detail` is whatever else is kept with it.
    """

    level: int
    reason: str
    sent: int = 0
    mended: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict, compare=False)
    code: Code | Literal[""] = ""


class SearchJournal:
    """One JSON line that says what is searched, then one a trial, each on disk before the next trial begins.

    `identity` is all that the trials depend on: server, model, SLO, the users' habits; `called` are the settings by
    which a user knows some of it. Half a line that a killed
    process left is cut off. Without a path nothing is kept. `resumed` counts the trials that were there already,
    `finished` tells that the search which made them came to its end. `tested_at` is when the last trial was over, in
    ISO 8601; None where there is none, or an older journal does not tell.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any], called: Mapping[str, str] | None = None) -> None:
        """Read what is there.

        Raises:
            UsageError: the file belongs to another search, or is no journal.
            NotReadyError: the disk refuses.
        """
        self._path, self._called = path, called or {}
        self.trials: list[Observation | InvalidTrial] = []
        self.finished = False
        self.tested_at: str | None = None
        self._lines = Journal(path)
        lines = self._lines.take_over()
        if lines:
            self._read(lines, json.loads(json.dumps(identity)))
        else:
            self._lines.append({"search": dict(identity)}, durable=True)
        self.resumed = len(self.trials)

    def add(self, trial: Observation | InvalidTrial) -> None:
        """Append one trial. Raises NotReadyError when the disk refuses."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._lines.append({**asdict(trial), "tested_at": now}, durable=True)
        self.trials.append(trial)
        self.tested_at = now
        self.finished = False

    def finish(self, result: Mapping[str, Any]) -> None:
        """Note once that the search came to its end, and to what. Raises NotReadyError when the disk refuses."""
        if not self.finished:
            self._lines.append({"finished": dict(result)}, durable=True)
            self.finished = True

    @property
    def observations(self) -> list[Observation]:
        """The valid trials."""
        return [trial for trial in self.trials if isinstance(trial, Observation)]

    @property
    def sent(self) -> int:
        """Requests that all trials cost."""
        return sum(trial.cost if isinstance(trial, Observation) else trial.sent for trial in self.trials)

    def _read(self, lines: list[bytes], identity: dict[str, Any]) -> None:
        try:
            found = json.loads(lines[0])["search"]
            found.pop("highest", None)  # of older journals; a search goes on with another cap
            other = sorted(key for key in {*found, *identity} if found.get(key) != identity.get(key))
            entries = [json.loads(line) for line in lines[1:]]
            for entry in entries:
                if "finished" not in entry:
                    self.tested_at = entry.pop("tested_at", None)
                    self.trials.append(_trial(entry))
            self.finished = bool(entries) and "finished" in entries[-1]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"this is no journal of a search ({error}); delete the file, or choose another report folder"
            raise UsageError(located(str(self._path), None, message)) from error
        if other:
            names = ", ".join(self._called.get(name, name) for name in other)
            message = (
                f"these trials are of another search: {names} not the same; begin anew, without resuming, or choose "
                "another report folder"
            )
            raise UsageError(located(str(self._path), 1, message))


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Inside the block no other process searches with this journal.

    Raises:
        UsageError: one does.
        NotReadyError: the disk refuses.
    """
    message = "another search is at work with this journal; wait for its end, or choose another report folder"
    with locked(path.with_suffix(".lock"), in_use=located(str(path), None, message)):
        yield


def searched(path: Path) -> Mapping[str, Any]:
    """What the trials of a journal depend on; nothing where it is none, or broken.

    Raises:
        NotReadyError: the disk refuses.
    """
    lines = Journal(path).take_over()
    try:
        identity = json.loads(lines[0])["search"] if lines else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return identity if isinstance(identity, dict) else {}


def discard(path: Path) -> int:
    """Delete a journal, and tell how many trials of a search that never came to its end are lost with it.

    Raises:
        NotReadyError: the disk refuses.
    """
    lines = Journal(path).take_over()
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise NotReadyError(f"cannot delete {path}: {error.strerror}; delete it by hand") from error
    return 0 if lines and b'"finished"' in lines[-1][:12] else max(0, len(lines) - 1)


def _trial(data: dict[str, Any]) -> Observation | InvalidTrial:
    if "reason" in data:
        return InvalidTrial(**data)
    return Observation(**{**data, "groups": tuple((good, total) for good, total in data["groups"])})
