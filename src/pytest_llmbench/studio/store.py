"""What a studio remembers: datasets, jobs and their events, in one SQLite file that one studio at a time holds."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import filelock
from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    TypeDecorator,
    create_engine,
    event,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.files import InUseError, cannot_write, fitting

if TYPE_CHECKING:
    from alembic.config import Config

JobKind = Literal["finetune", "benchmark", "autotune"]
JobState = Literal["queued", "running", "cancelling", "cancelled", "finished", "failed", "interrupted"]
EventKind = Literal["step", "evaluation", "log", "state"]

OVER: frozenset[JobState] = frozenset({"cancelled", "finished", "failed", "interrupted"})
"""The states of a job that nothing works on."""


class NotFoundError(UsageError):
    """No dataset or job of that id."""

    code = "not_found"


_DATABASE = "studio.db"
_WAIT_MS = 10_000  # a write waits so long for another one
_NAMES = {  # a later migration can only change a constraint that has a name
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """As it is kept."""
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """As it is used."""
        return value and value.replace(tzinfo=UTC)


class Record(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON(none_as_null=True), datetime: UtcTime()}


class Dataset(Record):
    """An uploaded file of rows. `name` is shown and never becomes a path; `path` is in the studio's folder."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    format: Mapped[str]
    path: Mapped[str]
    bytes: Mapped[int]
    rows: Mapped[int]
    languages: Mapped[dict[str, Any]]  # rows of each
    statistics: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    deleted_at: Mapped[datetime | None]  # until it is purged, a delete can be undone


class Job(Record):
    """Something that runs in a process of its own.

    `settings` are those it was started with, whole. `position` orders the queue. `pid` and `pid_started` (seconds since
    1970) are its process while there is one. `folder` holds its journal and its output, read as far as `journal_read`
    and `output_read` say, in bytes. `progress` is its newest step. `problem` says why it failed (`code`, `detail`),
    `result` what came of it.
    """

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[JobKind] = mapped_column(String(16))
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"))
    validation_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))  # the training whose adapter is benchmarked
    model: Mapped[str | None]
    settings: Mapped[dict[str, Any]]
    state: Mapped[JobState] = mapped_column(String(16), index=True)
    position: Mapped[int]
    pid: Mapped[int | None]
    pid_started: Mapped[float | None] = mapped_column(Float)
    folder: Mapped[str]
    output: Mapped[str | None]  # the adapter's folder
    journal_read: Mapped[int] = mapped_column(default=0)
    output_read: Mapped[int] = mapped_column(default=0)
    events: Mapped[int] = mapped_column(default=0)  # how many there are; the newest has this sequence
    created: Mapped[datetime]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    progress: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]


class Event(Record):
    """Something that happened in a job, the first of which has `sequence` 1; `ordinal` counts those of its kind."""

    __tablename__ = "events"
    __table_args__ = (Index("uq_events_job_id_kind_ordinal", "job_id", "kind", "ordinal", unique=True),)

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[EventKind] = mapped_column(String(16))
    ordinal: Mapped[int]
    at: Mapped[datetime]
    data: Mapped[dict[str, Any]]


class Store:
    """The database of a studio's folder. What a session gives can be read after the session has ended."""

    def __init__(self, folder: Path, engine: Engine, lock: filelock.BaseFileLock) -> None:
        self.folder, self.engine, self._lock = folder, engine, lock
        self.commits = 0
        """Who looks at the store again and again need do so only when this number has changed."""
        self._counting = threading.Lock()
        self._listeners: set[Callable[[], None]] = set()
        self._reading = sessionmaker(engine, expire_on_commit=False, autoflush=False)
        self._writing = sessionmaker(engine.execution_options(writes=True), expire_on_commit=False)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the database, whatever others write meanwhile.

        Raises:
            NotReadyError: the file cannot be read.
        """
        with self._told(), self._reading() as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that alone may write; what it did is committed whole when the block ends well, and else nothing.

        Raises:
            NotReadyError: the disk is full, or the file cannot be written.
        """
        with self._told(), self._writing.begin() as session:
            yield session
        with self._counting:  # of two at once, one would look like none to who has seen the other
            self.commits += 1
        self.wake()

    @contextlib.contextmanager
    def listening(self, told: Callable[[], None]) -> Iterator[None]:
        """Inside the block `told` is called after each commit, in the thread that made it."""
        self._listeners.add(told)
        try:
            yield
        finally:
            self._listeners.discard(told)

    def wake(self) -> None:
        """Have all who listen look: something was committed, or the studio ends."""
        for told in tuple(self._listeners):
            told()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise _refused(self.folder / _DATABASE, error) from error

    def close(self) -> None:
        """Let another studio have the folder."""
        self.engine.dispose()
        self._lock.release()


def open_store(folder: Path) -> Store:
    """The store in `folder`, which is made; its tables are brought up to date.

    Raises:
        InUseError: another studio has it open.
        NotReadyError: the folder cannot be written, or a newer version of this package wrote it.
    """
    lock = _hold(folder)
    try:
        engine = _engine(folder / _DATABASE)
        _bring_up_to_date(engine, folder / _DATABASE)
    except BaseException:
        lock.release()
        raise
    return Store(folder, engine, lock)


def _hold(folder: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(folder / ".lock", blocking=False, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        told = f"{folder} is in use: another studio is open on it; use that one, end it, or choose another folder"
        raise InUseError(told, names=("studio.folder",)) from error
    except OSError as error:
        raise cannot_write(folder, error, names=("studio.folder",)) from error
    return lock


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _WAIT_MS / 1000})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_begin` says when a transaction begins, not the driver
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "mmap_size = 67108864"):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Connection) -> None:
    """A writer waits for its turn when it begins: one that has read already could not."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _bring_up_to_date(engine: Engine, path: Path) -> None:
    from alembic import command
    from alembic.util import CommandError

    try:
        with engine.execution_options(writes=True).begin() as connection:
            command.upgrade(migrations(connection), "head")
    except CommandError as error:
        told = f"{path} was written by a newer version of pytest-llmbench; install that, or choose another folder"
        raise NotReadyError(told, names=("studio.folder",)) from error
    except DatabaseError as error:
        raise _refused(path, error) from error


def migrations(connection: Connection) -> Config:
    """How alembic finds the migrations, for `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _refused(path: Path, error: Exception) -> NotReadyError:
    reason = getattr(error, "orig", None) or error
    remedy = fitting("free some space, repair the file or choose another folder", error)
    return NotReadyError(f"cannot use {path}: {reason}; {remedy}", names=("studio.folder",))
