"""The trials of a search on disk, so that a killed one goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_llmbench.errors import NotReadyError, UsageError, located
from pytest_llmbench.stats.capacity import Observation


@dataclass(frozen=True, slots=True)
class InvalidTrial:
    """A trial that says nothing about the server, and why: the client was the bottleneck, say. `sent` is its cost."""

    level: int
    reason: str
    sent: int = 0


class SearchJournal:
    """One JSON line that says what is searched, then one a trial, each on disk before the next trial begins.

    `identity` is all that the trials depend on: server, model, SLO, the users' habits. Half a line that a killed
    process left is cut off. Without a path nothing is kept.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        """Read what is there.

        Raises:
            UsageError: the file belongs to another search, or is no journal.
            NotReadyError: the disk refuses.
        """
        self._path = path
        self.trials: list[Observation | InvalidTrial] = []
        lines = _lines(path) if path else []
        if lines:
            self._read(lines, json.loads(json.dumps(identity)))
        else:
            self._append({"search": dict(identity)})

    def add(self, trial: Observation | InvalidTrial) -> None:
        """Append one trial. Raises NotReadyError when the disk refuses."""
        self._append(asdict(trial))
        self.trials.append(trial)

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
            other = sorted(key for key in {*found, *identity} if found.get(key) != identity.get(key))
            self.trials = [_trial(json.loads(line)) for line in lines[1:]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"this is no journal of a search ({error}); delete the file, or name another"
            raise UsageError(located(str(self._path), None, message)) from error
        if other:
            names = ", ".join(other)
            message = f"these trials are of another search: {names} not the same; delete the file, or name another"
            raise UsageError(located(str(self._path), 1, message))

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                os.fsync(file.fileno())
        except OSError as error:
            message = f"cannot write {self._path}: {error.strerror}; free some space or choose another folder"
            raise NotReadyError(message) from error


def _lines(path: Path) -> list[bytes]:
    """The complete lines; what follows the last of them is cut off the file."""
    try:
        if not path.exists():
            return []
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(path, len(whole))
    except OSError as error:
        raise NotReadyError(f"cannot use {path}: {error.strerror}; make it readable and writable") from error
    return whole.splitlines()


def _trial(data: dict[str, Any]) -> Observation | InvalidTrial:
    if "reason" in data:
        return InvalidTrial(**data)
    return Observation(**{**data, "groups": tuple((good, total) for good, total in data["groups"])})
