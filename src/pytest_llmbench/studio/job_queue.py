"""Works the queue off: starts what is next, tells what running jobs write, and brings each to its end."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from pytest_llmbench.core.errors import EXIT_BY_SIGNAL, LLMBenchError, NotReadyError, UsageError
from pytest_llmbench.core.setting_sections import StudioSettings
from pytest_llmbench.studio.job_events import LogData, Problem
from pytest_llmbench.studio.job_files import error_of, new_in_journal, new_in_output, tail
from pytest_llmbench.studio.job_kinds import JOURNAL, KINDS, JobFiles, Work
from pytest_llmbench.studio.job_process import OUTPUT, JobProcess, prepare
from pytest_llmbench.studio.job_record import JobRecord
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.store import Dataset, Job, JobKind, JobState, Store

_ENDED_FROM_OUTSIDE = frozenset(
    EXIT_BY_SIGNAL + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
)
_MIB = 2**20
_log = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many jobs run `at_once`; seconds that a cancelled one may take to write its checkpoint, and between looks.

    `spare_bytes` of the disk stay free: a job that would not leave them is not started, one that comes near is stopped.
    """

    at_once: int = 1
    cancel_s: float = 60.0
    look_s: float = 0.2
    spare_bytes: int = 256 * _MIB

    @classmethod
    def of(cls, settings: StudioSettings) -> Self:
        """Those of a project."""
        return cls(settings.jobs_at_once, settings.cancel_s, spare_bytes=settings.spare_mb * _MIB)


class JobQueue:
    """The one that starts and ends jobs, in a thread of its own; all that it knows of them is in the store."""

    def __init__(
        self,
        store: Store,
        options: StudioOptions,
        limits: QueueLimits | None = None,
        kinds: Mapping[JobKind, Work] = KINDS,
    ) -> None:
        self._store, self._options, self._kinds = store, options, kinds
        self._limits = limits or QueueLimits.of(options.settings.studio)
        self._known: Sequence[Job] = ()
        self._as_of = -1  # the commits of the store
        self._kill_at: dict[int, float] = {}
        self._woken, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="job queue", daemon=True)

    def start(self) -> None:
        """Begin, with the jobs that an earlier studio left running."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; the jobs go on."""
        self._closing.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look at once: a job was queued or cancelled."""
        self._woken.set()

    def refuse_without_room(self, job: Job, files: JobFiles) -> None:
        """See that the disk has room for a job. Raises NotReadyError."""
        needed = self._kinds[job.kind].room(job, files) + self._limits.spare_bytes
        free, folder = self._least_free(job)
        if free < needed:
            raise NotReadyError(
                f"the disk has {free // _MIB} MiB free and the job may take {needed // _MIB} MiB with what must stay "
                f"free; free some space at {folder}"
            )

    def _least_free(self, job: Job) -> tuple[int, Path]:
        """Bytes that are free where a job writes, and where: its adapter may go to another disk."""
        places = [self._store.folder.absolute(), *(Path(job.output).absolute().parents if job.output else ())]
        written = {places[0], next(filter(Path.is_dir, places[1:]), places[0])}
        return min((shutil.disk_usage(place).free, place) for place in written)

    def _work(self) -> None:
        waits = ""
        while not self._closing.is_set():
            self._woken.clear()
            try:
                busy, why = self.look(), ""
            except (LLMBenchError, OSError) as error:  # a full disk: what is not told stays in the job's files
                busy, why = True, str(error)
            if why not in ("", waits):  # once, not at every look
                _log.warning("the job queue waits: %s", why)
            waits = why
            self._woken.wait(self._limits.look_s if busy else None)

    def look(self) -> bool:
        """Go round once; whether anything runs."""
        for job in self._working():
            self._follow(job)
        while len(self._working()) < self._limits.at_once and (waiting := self._first_in_queue()):
            self._begin(waiting)
        return bool(self._working())

    def _working(self) -> Sequence[Job]:
        """The jobs that have a process; asked of the store again only when something was committed."""
        commits = self._store.commits
        if commits != self._as_of:
            with self._store.reading() as session:
                with_process = select(Job).where(Job.state.in_(("running", "cancelling")))
                self._known = session.scalars(with_process).all()
            self._as_of = commits
        return self._known

    def _first_in_queue(self) -> int | None:
        with self._store.reading() as session:
            return session.scalar(select(Job.id).where(Job.state == "queued").order_by(Job.position).limit(1))

    def _begin(self, job_id: int) -> None:
        """Start the process of a queued job; it runs only once the store knows it."""
        with self._store.reading() as session:
            record = JobRecord(session, job_id)
            files = files_of(record.job, session, self._store)
        try:
            self.refuse_without_room(record.job, files)
            command = self._kinds[record.job.kind].command(record.job, files, self._options)
            files.folder.mkdir(parents=True, exist_ok=True)
            waiting = prepare(command, Path.cwd(), files.folder, _environment())
        except LLMBenchError as error:
            self._enter(job_id, "failed", Problem(code=error.code, detail=str(error)))
            return
        with waiting:
            if self._becomes(job_id, waiting.process):
                waiting.begin()

    def _becomes(self, job_id: int, process: JobProcess) -> bool:
        """Note that this is the process of a queued job; not where that was cancelled meanwhile."""
        with self._store.writing() as session:
            record = JobRecord(session, job_id)
            if record.job.state != "queued":
                return False
            record.job.pid, record.job.pid_started = process.pid, process.started
            record.enter("running")
        return True

    def _follow(self, job: Job) -> None:
        """Tell what is new of a job that runs; end it when its process has."""
        process = JobProcess(job.pid or 0, job.pid_started or 0.0, self._store.folder / job.folder)
        over = process.is_over()  # asked first: what it wrote before is then read
        told = self._tell(job, process.folder, over=over)
        if over and not told:
            self._end(job.id, process)
        elif not over and job.state == "cancelling":
            self._press(job.id, process)
        elif not over:
            self._stop_on_full_disk(job)

    def _tell(self, job: Job, folder: Path, *, over: bool) -> bool:
        """Commit what a job has written as events; whether there was anything."""
        lines, faulty, journal_read = new_in_journal(folder / JOURNAL, job.journal_read)
        logs, output_read = new_in_output(folder / OUTPUT, job.output_read, over=over)
        if (journal_read, output_read) == (job.journal_read, job.output_read):
            return False
        with self._store.writing() as session:
            record = JobRecord(session, job.id)
            record.job.journal_read, record.job.output_read = journal_read, output_read
            for line in lines:
                record.add(line.kind, line.data(), line.at)
            for log in (*logs, *(LogData(line=fault) for fault in faulty)):
                record.add("log", log)
        return True

    def _end(self, job_id: int, process: JobProcess) -> None:
        """The process has ended: end what it left, and say how the job is now."""
        process.end()
        code = process.exit_code()
        self._kill_at.pop(job_id, None)
        with self._store.reading() as session:
            job = JobRecord(session, job_id).job
            files = files_of(job, session, self._store)
        result, problem = None, Problem.model_validate(job.problem) if job.problem else None
        state: JobState = "cancelled" if problem is None else "failed"
        work = self._kinds[job.kind]
        if code is not None and code in work.outcomes:
            try:
                result = work.result(job, files, self._options, code)
                state, problem = "finished", None
            except LLMBenchError as error:
                state, problem = "failed", Problem(code=error.code, detail=str(error))
        elif job.state != "cancelling":
            state, problem = _how_it_ended(code, process)
        with self._store.writing() as session:
            record = JobRecord(session, job_id)
            record.job.pid = record.job.pid_started = None
            record.enter(state, problem, result)

    def _press(self, job_id: int, process: JobProcess) -> None:
        """Ask a job to end, and kill it when it does not in time."""
        if job_id not in self._kill_at:
            self._kill_at[job_id] = time.monotonic() + self._limits.cancel_s
            process.signal(signal.SIGTERM)
        elif time.monotonic() >= self._kill_at[job_id]:
            process.signal(signal.SIGKILL)

    def _stop_on_full_disk(self, job: Job) -> None:
        free, folder = self._least_free(job)
        if free < self._limits.spare_bytes:
            told = (
                f"stopped because only {free // _MIB} MiB of the disk are free; free some at {folder}, then resume it"
            )
            self._enter(job.id, "cancelling", Problem(code=NotReadyError.code, detail=told))

    def _enter(self, job_id: int, state: JobState, problem: Problem) -> None:
        with self._store.writing() as session:
            record = JobRecord(session, job_id)
            if record.job.state in ("queued", "running"):
                record.enter(state, problem)


def files_of(job: Job, session: Session, store: Store) -> JobFiles:
    """Where a job's files are."""
    dataset = session.get(Dataset, job.dataset_id) if job.dataset_id else None
    validation = session.get(Dataset, job.validation_id) if job.validation_id else None
    return JobFiles(
        store.folder / job.folder,
        dataset,
        store.folder / dataset.path if dataset else None,
        store.folder / validation.path if validation else None,
    )


def _environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def _how_it_ended(code: int | None, process: JobProcess) -> tuple[JobState, Problem]:
    """Of a job that nobody cancelled, and that came to no end of its own."""
    if code is None:
        return "interrupted", Problem(code="interrupted", detail="its process was killed, or the machine; resume it")
    if code in _ENDED_FROM_OUTSIDE:
        told = f"its process got signal {code - EXIT_BY_SIGNAL}; a kill without anybody's doing is often of memory"
        return "interrupted", Problem(code="interrupted", detail=f"{told}; resume it")
    return "failed", _problem(code, process)


def _problem(code: int, process: JobProcess) -> Problem:
    """What the command said last."""
    lines = list(tail(process.folder / OUTPUT, process.output_began()))
    said = error_of(lines) or (lines[-1] if lines else f"its command ended with exit code {code}")
    kind = {UsageError.exit_code: UsageError.code, NotReadyError.exit_code: NotReadyError.code}.get(code, "failed")
    return Problem(code=kind, detail=said)
