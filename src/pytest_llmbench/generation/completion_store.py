"""Completions on disk: the journal of a run, written as answers arrive, and the cache that outlives runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import cannot_write, locked
from pytest_llmbench.core.journal import Journal
from pytest_llmbench.core.records import Completion

JOURNAL = "completions.jsonl"
_GO_ON = "free some space, then resume this run, or choose another folder"


def content_key(identity: Mapping[str, str], question: Mapping[str, Any]) -> str:
    """One key for all that decides an answer: who answers, with what settings and versions, to what, on which noise."""
    canonical = json.dumps({"by": identity, "to": question}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class CompletionJournal:
    """The completions of one run, one JSON line each, appended and flushed as they arrive.

    Several processes may append to one journal (pytest-xdist); `refresh` brings in what the others wrote. A later line
    of the same key replaces an earlier one. A line cut off by a crash is ignored, and so is a failed answer of before
    this journal was opened: a resumed run asks for it again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines = Journal(folder / JOURNAL, _GO_ON, ("resume", "output.report_dir"))
        self._known: dict[str, Completion] = {}
        self.refresh()
        self._known = {key: completion for key, completion in self._known.items() if completion.finish != "error"}

    def get(self, key: str) -> Completion | None:
        """The completion of this key, as far as this process has read or written."""
        return self._known.get(key)

    def add(self, key: str, completion: Completion) -> None:
        """Append one completion. Raises NotReadyError when the disk refuses."""
        self._lines.append({"key": key, **completion.to_json()})
        self._known[key] = completion

    @contextlib.contextmanager
    def claimed(self, part: str, *, blocking: bool) -> Iterator[None]:
        """Inside the block no other process works on this part of the run.

        Raises:
            InUseError: another process has it, and `blocking` is off.
            NotReadyError: the disk refuses.
        """
        in_use = None if blocking else f"another process works on {part}"
        with locked(self.folder / f"{part}.lock", in_use=in_use):
            yield

    def refresh(self) -> None:
        """Read the lines that were added since the last look, by whatever process."""
        for line in self._lines.unread():
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        try:
            data = json.loads(line)
            self._known[data.pop("key")] = Completion.from_json(data)
        except (ValueError, KeyError, TypeError):
            return  # the torn line of a killed process: its answer is asked again


class CompletionCache:
    """Completions of all runs by content key, in one SQLite file that several processes may share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None

    def get(self, keys: Iterable[str]) -> dict[str, Completion]:
        """The stored completions among `keys`, marked as cached. Raises NotReadyError for an unreadable cache."""
        if not self.path.exists():
            return {}
        found: dict[str, Completion] = {}
        with self._opened() as database:
            for key in keys:
                row = database.execute("SELECT completion FROM completions WHERE key = ?", (key,)).fetchone()
                if row:
                    found[key] = Completion.from_json({**json.loads(row[0]), "cached": True})
        return found

    def put(self, key: str, completion: Completion) -> None:
        """Store one completion; an answer that failed or ran out of time is not worth remembering.

        Nor is one that was given without the tools of its case: a server may know them when it is started again.
        """
        if completion.finish in {"error", "timeout"} or completion.tools_left_out:
            return
        with self._opened() as database:
            text = json.dumps(completion.to_json(), ensure_ascii=False)
            database.execute("INSERT OR REPLACE INTO completions VALUES (?, ?)", (key, text))
            database.commit()

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._database is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # SQLite does not wait when two processes switch a new file to WAL at once
                with locked(self.path.with_suffix(".lock")):
                    self._database = sqlite3.connect(self.path, timeout=60)
                    self._database.execute("PRAGMA journal_mode=WAL")
                    self._database.execute("PRAGMA synchronous=NORMAL")
                    self._database.execute(
                        "CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, completion TEXT NOT NULL)"
                    )
            yield self._database
        except (sqlite3.Error, OSError, json.JSONDecodeError, NotReadyError) as error:
            raise NotReadyError(
                f"the completion cache {self.path} cannot be used ({error}); delete it, or set generation.cache: false",
                names=("generation.cache",),
            ) from error


def refuse_unwritable(folder: Path, setting: str) -> None:
    """Find out whether a folder can be made and written in, and leave nothing behind.

    Raises:
        NotReadyError: it cannot.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise cannot_write(
            folder, error, f"free some space or choose another folder with {setting}", (setting,)
        ) from error
