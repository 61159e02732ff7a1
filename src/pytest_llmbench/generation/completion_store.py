"""Completions on disk: the journal of a run, written as answers arrive, and the cache that outlives runs.

Both are SQLite files in write-ahead mode, which several processes share: what is committed outlives a killed process,
and none of it is held in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError, naming
from pytest_llmbench.core.files import cannot_write, locked
from pytest_llmbench.core.journal import Journal
from pytest_llmbench.core.records import Completion

JOURNAL = "completions.sqlite"
"""What the journal of a run is called in the run's folder."""
OLD_JOURNAL = "completions.jsonl"
"""What it was before: one JSON object a line."""

_log = logging.getLogger("pytest_llmbench")

_GO_ON = "free some space, then resume this run, or choose another folder"
_NAMES = ("resume", "output.report_dir")
_IN_VAIN = {"error", "timeout"}
_WAIT_S = 60
_AT_ONCE = 500
"""SQLite of before 2020 takes up to 999 values in one query."""


def content_key(identity: Mapping[str, str], question: Mapping[str, Any]) -> str:
    """One key for all that decides an answer: who answers, with what settings and versions, to what, on which noise."""
    canonical = json.dumps({"by": identity, "to": question}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class CompletionJournal:
    """The completions of one run, each committed as it arrives.

    Several processes may write and read one journal (pytest-xdist). A later completion of the same key replaces an
    earlier one. An answer that failed or ran out of time before the session came to this journal is not known: a
    resumed run asks for it again. The journal of an older version is taken over when there is one.

    Args:
        folder: the run's.
        session: the name that all processes of a session share, whichever opens the journal first; each is a session
            of its own without one.
    """

    def __init__(self, folder: Path, session: str | None = None) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        self._database: sqlite3.Connection | None = None
        self._session, self._began_at = session or uuid.uuid4().hex, 0
        if self._path.exists() or (folder / OLD_JOURNAL).exists():
            with self._opened():
                pass  # what is there by now was there before this session

    def get(self, key: str) -> Completion | None:
        """The completion of this key, by whatever process."""
        return self.get_all([key]).get(key)

    def get_all(self, keys: Iterable[str]) -> dict[str, Completion]:
        """Those of these keys that are there. Raises NotReadyError for a journal that cannot be read."""
        if self._database is None and not self._path.exists():
            return {}
        with self._opened() as database:
            stored = _stored(database, keys, "(NOT failed OR id > ?) AND ", self._began_at)
            return {key: Completion.from_json(told) for key, told in stored}

    def add(self, key: str, completion: Completion) -> None:
        """Write and commit one completion. Raises NotReadyError when the disk refuses."""
        with self._opened() as database:
            database.execute(_INSERT, _journal_row(key, completion))

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

    def close(self) -> None:
        """Close the file; the last process that does leaves all of it in one."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._database is None:
                self._database = _open(self._path, _JOURNAL_TABLE)
                self._take_over(self._database)
                self._began_at = _began_at(self._database, self._session)
            yield self._database
        except OSError as error:
            raise cannot_write(self._path, error, _GO_ON, _NAMES) from error
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise NotReadyError(f"the journal {self._path} cannot be used ({error}); {_GO_ON}", names=_NAMES) from error

    def _take_over(self, database: sqlite3.Connection) -> None:
        """Bring in the lines of an older version's journal, whole or not at all, and set that aside."""
        old = self.folder / OLD_JOURNAL
        if not old.exists():
            return
        with locked(self._path.with_suffix(".lock")):
            if not old.exists():
                return  # another process has done it
            database.execute("BEGIN")
            database.executemany(_INSERT, (_journal_row(key, done) for key, done in _lines(old) if key))
            database.execute("COMMIT")
            old.replace(old.with_suffix(".taken-over"))
            _log.info("%s is taken over into %s", old, self._path.name)


def stored_completions(journal: Path) -> Iterator[Completion]:
    """Every completion of a finished run's journal, of this or an older version, one at a time.

    Raises:
        NotReadyError: the file cannot be read.
    """
    if journal.name == OLD_JOURNAL:
        yield from (completion for _, completion in _lines(journal))
        return
    try:
        with contextlib.closing(_read_only(journal)) as database:
            for (completion,) in database.execute("SELECT completion FROM completions ORDER BY id"):
                yield Completion.from_json(json.loads(completion))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise NotReadyError(f"the journal {journal} cannot be read: {error}") from error


def copy_journal(journal: Path, folder: Path) -> None:
    """A copy of a journal in another folder, with what a killed process left beside the file.

    Raises:
        NotReadyError: it cannot be read or written.
    """
    if journal.name == OLD_JOURNAL:
        (folder / OLD_JOURNAL).write_bytes(journal.read_bytes())
        return
    try:
        with (
            contextlib.closing(_read_only(journal)) as there,
            contextlib.closing(sqlite3.connect(folder / JOURNAL)) as copy,
        ):
            there.backup(copy)
    except sqlite3.Error as error:
        raise NotReadyError(f"the journal {journal} cannot be copied to {folder}: {error}") from error


def journal_in(folder: Path) -> Path | None:
    """The journal that a run's folder holds, of this or an older version; None where it holds none."""
    return next((folder / name for name in (JOURNAL, OLD_JOURNAL) if (folder / name).is_file()), None)


def remove_journal(folder: Path) -> None:
    """Remove the journal of a folder, if there is one, that nobody has open."""
    for name in (JOURNAL, OLD_JOURNAL):
        for file in folder.glob(f"{name}*"):
            file.unlink()


def drop_journal(folder: Path) -> None:
    """Remove the journal of a folder that nobody has open; where there is one, say that its answers are lost."""
    if journal := journal_in(folder):
        told = "%s: the answers of a stopped run are dropped; resuming goes on from one with the same settings"
        _log.warning(told, journal, extra=naming("resume"))
    remove_journal(folder)


class CompletionCache:
    """Completions of all runs by content key, in one SQLite file that several processes may share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None

    def get(self, keys: Iterable[str]) -> dict[str, Completion]:
        """The stored completions among `keys`, marked as cached. Raises NotReadyError for an unreadable cache."""
        if not self.path.exists():
            return {}
        with self._opened() as database:
            return {key: Completion.from_json({**told, "cached": True}) for key, told in _stored(database, keys)}

    def put(self, key: str, completion: Completion) -> None:
        """Store one completion; an answer that failed or ran out of time is not worth remembering.

        Nor is one that was given without the tools of its case: a server may know them when it is started again.
        """
        if completion.finish in _IN_VAIN or completion.tools_left_out:
            return
        with self._opened() as database:
            text = json.dumps(completion.to_json(), ensure_ascii=False)
            database.execute("INSERT OR REPLACE INTO completions VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._database is None:
                self._database = _open(self.path, _CACHE_TABLE)
            yield self._database
        except (sqlite3.Error, OSError, json.JSONDecodeError, NotReadyError) as error:
            raise NotReadyError(
                f"the completion cache {self.path} cannot be used ({error}); delete it, or set generation.cache: false",
                names=("generation.cache",),
            ) from error


_JOURNAL_TABLE = """CREATE TABLE IF NOT EXISTS completions
    (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, failed INTEGER NOT NULL, completion TEXT NOT NULL)"""
_SESSIONS_TABLE = """CREATE TABLE IF NOT EXISTS sessions
    (session TEXT PRIMARY KEY, began_at INTEGER NOT NULL)"""
_CACHE_TABLE = "CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, completion TEXT NOT NULL)"
_INSERT = "INSERT OR REPLACE INTO completions (key, failed, completion) VALUES (?, ?, ?)"
_SELECT = "SELECT key, completion FROM completions WHERE {which}key IN ({places})"


def _stored(
    database: sqlite3.Connection, keys: Iterable[str], which: str = "", *values: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is stored under `keys`, many at a time; `which` is a further condition on `values`."""
    wanted = iter(keys)
    while some := tuple(itertools.islice(wanted, _AT_ONCE)):
        query = _SELECT.format(which=which, places=",".join("?" * len(some)))
        for key, completion in database.execute(query, (*values, *some)):
            yield key, json.loads(completion)


def _began_at(database: sqlite3.Connection, session: str) -> int:
    """The last completion that was there when the first process of the session came."""
    database.execute(_SESSIONS_TABLE)
    database.execute("INSERT OR IGNORE INTO sessions SELECT ?, coalesce(max(id), 0) FROM completions", (session,))
    (began_at,) = database.execute("SELECT began_at FROM sessions WHERE session = ?", (session,)).fetchone()
    return int(began_at)


def _open(path: Path, table: str) -> sqlite3.Connection:
    """The database with its table; each statement is a transaction of its own.

    Committed is what the system has: a killed process loses nothing, a power cut the last moments.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # SQLite does not wait when two processes switch a new file to WAL at once
    with locked(path.with_suffix(".lock")):
        database = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute(table)
    return database


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)


def _journal_row(key: str, completion: Completion) -> tuple[str, bool, str]:
    return key, completion.finish in _IN_VAIN, json.dumps(completion.to_json(), ensure_ascii=False)


def _lines(old: Path) -> Iterator[tuple[str, Completion]]:
    """Key and completion of each line of an older version's journal; half a line of a killed process is none."""
    for line in Journal(old).unread():
        try:
            data = json.loads(line)
            yield data.pop("key", ""), Completion.from_json(data)
        except (ValueError, TypeError, AttributeError):
            continue


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
