"""Jobs as people use them: started, watched, cancelled, resumed and put in another order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from pytest_llmbench.core.errors import UsageError, WrongModelError
from pytest_llmbench.finetune.adapter_folder import checkpoints_of
from pytest_llmbench.generation.client.server_address import api_url
from pytest_llmbench.models.registry import load_registry
from pytest_llmbench.studio.job_events import Curves, EvaluationData, StepData
from pytest_llmbench.studio.job_kinds import KINDS, Work
from pytest_llmbench.studio.job_queue import JobQueue, QueueLimits, files_of
from pytest_llmbench.studio.job_record import JobRecord, find_job
from pytest_llmbench.studio.job_requests import StartAutotune, StartBenchmark, StartFinetuning, chosen_settings
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.store import (
    OVER,
    Dataset,
    Event,
    EventKind,
    Job,
    JobKind,
    NotFoundError,
    Store,
)

__all__ = ["Jobs", "StartAutotune", "StartBenchmark", "StartFinetuning", "WrongStateError"]

_Point = TypeVar("_Point", StepData, EvaluationData)

_PAGE = 500  # events
_SHARED_PAGES = 8
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


class WrongStateError(UsageError):
    """The job is not in a state in which that can be done."""

    code = "wrong_state"


class Jobs:
    """The jobs of a store. `start` begins to work the queue off, and takes up what an earlier studio left running."""

    def __init__(
        self,
        store: Store,
        options: StudioOptions,
        limits: QueueLimits | None = None,
        kinds: Mapping[JobKind, Work] = KINDS,
    ) -> None:
        self._store, self._options, self._closed = store, options, False
        self._queue = JobQueue(store, options, limits, kinds)
        self._page = functools.lru_cache(_SHARED_PAGES)(self._read_page)

    def start(self) -> None:
        """Work the queue off in a thread until `close`."""
        self._queue.start()

    def close(self) -> None:
        """Stop to look after jobs. Those that run go on; the next studio takes them up."""
        self._closed = True
        self._store.wake()
        self._queue.close()

    def start_finetuning(self, request: StartFinetuning) -> Job:
        """Queue a training; `Job.settings` has every hyper-parameter that was chosen.

        Raises:
            NotFoundError: there is no such dataset.
            WrongModelError: the model is not in the registry, and others are not allowed.
            UsageError: a value is of no use.
            NotReadyError: there is too little room on the disk.
        """
        entry = load_registry().find(request.model_name)
        if entry is None and not self._options.allow_any_model:
            raise WrongModelError(
                f"{request.model_name!r} is not in the registry; choose a model that is, or start the studio so that "
                "it allows any model",
                names=("model_name", "allow_any_model"),
            )
        model = entry.alias if entry else request.model_name
        with self._store.writing() as session:
            for dataset_id in filter(None, (request.dataset_id, request.validation_dataset_id)):
                _refuse_missing(session, dataset_id)
            job = self._new(session, "finetune", chosen_settings(request, model), model)
            job.dataset_id, job.validation_id = request.dataset_id, request.validation_dataset_id
            job.output = str(_free_adapter(self._options.settings.model.adapters_dir, model, job.id))
            self._queue.refuse_without_room(job, files_of(job, session, self._store))
        return self._queued(job)

    def start_benchmark(self, job_id: int, request: StartBenchmark) -> Job:
        """Queue the main job for the adapter of a finished training.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: it is no finished training.
        """
        with self._store.writing() as session:
            training = find_job(session, job_id)
            if training.kind != "finetune" or training.state != "finished":
                told = f"job {job_id} is a {training.kind} that is {training.state}; only a finished training can be"
                raise WrongStateError(f"{told} benchmarked")
            settings = {"quantization": training.settings["quantization"], **request.model_dump(exclude_none=True)}
            job = self._new(session, "benchmark", settings, training.model)
            job.parent_id, job.output, job.dataset_id = job_id, training.output, training.dataset_id
        return self._queued(job)

    def start_autotune(self, request: StartAutotune) -> Job:
        """Queue a search for the users that a server holds.

        Raises:
            UsageError: the server's address is none, or not on this machine.
        """
        if urlsplit(_address(request.server)).hostname not in _THIS_MACHINE:
            told = f"{request.server} is not on this machine; give a server at {' or '.join(sorted(_THIS_MACHINE))}"
            raise UsageError(told, names=("server",))
        settings = {name.replace("_", "-"): value for name, value in request.model_dump(exclude_none=True).items()}
        with self._store.writing() as session:
            job = self._new(session, "autotune", settings, request.server_model)
        return self._queued(job)

    def list(self) -> Sequence[Job]:
        """All jobs: those that run, the queue in its order, then the others, the newest first."""
        running, queued = Job.state.in_(("running", "cancelling")), Job.state == "queued"
        place = case((running, 0), (queued, 1), else_=2)
        within = case((queued, Job.position), else_=-Job.id)
        with self._store.reading() as session:
            return session.scalars(select(Job).order_by(place, within)).all()

    def get(self, job_id: int) -> Job:
        """One job. Raises NotFoundError."""
        with self._store.reading() as session:
            return find_job(session, job_id)

    def cancel(self, job_id: int) -> Job:
        """End a job and all its processes; a training keeps its newest checkpoint.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: it is over.
        """
        with self._store.writing() as session:
            record = JobRecord(session, job_id)
            state = record.job.state
            if state in OVER:
                raise WrongStateError(f"job {job_id} is {state} already; only one that waits or runs can be cancelled")
            if state != "cancelling":
                record.enter("cancelled" if state == "queued" else "cancelling")
        return self._queued(record.job)

    def resume(self, job_id: int) -> Job:
        """Queue a job again that was interrupted, cancelled or failed; a training goes on from its checkpoint.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: it is not over, or is finished.
        """
        with self._store.writing() as session:
            record = JobRecord(session, job_id)
            state = record.job.state
            if state not in OVER or state == "finished":
                told = "only one that was interrupted, cancelled or failed can be resumed"
                raise WrongStateError(f"job {job_id} is {state}; {told}")
            record.job.position = _last_position(session) + 1
            record.enter("queued")
        return self._queued(record.job)

    def reorder(self, job_ids: Sequence[int]) -> Sequence[Job]:
        """Put the queue in this order; queued jobs that are not named follow. The queue as it is then.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: one is not queued any more.
        """
        with self._store.writing() as session:
            first = [find_job(session, job_id) for job_id in dict.fromkeys(job_ids)]
            if gone := [job for job in first if job.state != "queued"]:
                raise WrongStateError(f"job {gone[0].id} is {gone[0].state}; only jobs that wait can change places")
            waiting = session.scalars(select(Job).where(Job.state == "queued").order_by(Job.position)).all()
            places = sorted(job.position for job in waiting)
            queue = [*first, *(job for job in waiting if job not in first)]
            for job, place in zip(queue, places, strict=True):
                job.position = place
        return queue

    def events(
        self, job_id: int, after: int = 0, patience_s: float | None = None
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The events with a sequence above `after`, some at a time, then new ones as they come.

        It ends when the job is over and all are told. An empty part comes each time that nothing happens for
        `patience_s`. Each watcher reads from the store at its own speed; those that are equally far share what is read.

        Raises:
            NotFoundError: there is no such job.
        """
        self.get(job_id)
        return self._follow(job_id, after, patience_s)

    async def _follow(self, job_id: int, after: int, patience_s: float | None) -> AsyncGenerator[Sequence[Event], None]:
        loop, committed = asyncio.get_running_loop(), asyncio.Event()

        def told() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody watches any more
                loop.call_soon_threadsafe(committed.set)

        with self._store.listening(told):
            while not self._closed:
                committed.clear()
                page, over = await asyncio.to_thread(self._page, job_id, after, self._store.commits)
                if page:
                    after = page[-1].sequence
                    yield page
                if over:
                    return
                if not page and not self._closed and not await _within(patience_s, committed):
                    yield ()

    def _read_page(self, job_id: int, after: int, _commits: int) -> tuple[Sequence[Event], bool]:
        """The next events, and whether these are all that there will be; as of so many commits, or later."""
        newer = select(Event).where(Event.job_id == job_id, Event.sequence > after).order_by(Event.sequence)
        with self._store.reading() as session:
            page = session.scalars(newer.limit(_PAGE)).all()
            job = find_job(session, job_id)
        told = page[-1].sequence if page else after
        return page, job.state in OVER and told >= job.events

    def curve(self, job_id: int, points: int = 500) -> Curves:
        """Steps and evaluations, thinned out evenly to at most `points` each, in the time that so many take.

        What a resumed training did again stands as it was the second time.

        Raises:
            NotFoundError: there is no such job.
        """
        with self._store.reading() as session:
            find_job(session, job_id)
            steps = [StepData.model_validate(data) for data in _spread(session, job_id, "step", points)]
            looks = [EvaluationData.model_validate(data) for data in _spread(session, job_id, "evaluation", points)]
        return Curves(steps=tuple(_as_done_last(steps)), evaluations=tuple(_as_done_last(looks)))

    def log(self, job_id: int, last: int = 200) -> Sequence[Event]:
        """The newest lines of its log. Raises NotFoundError."""
        lines = select(Event).where(Event.job_id == job_id, Event.kind == "log").order_by(Event.ordinal.desc())
        with self._store.reading() as session:
            find_job(session, job_id)
            return session.scalars(lines.limit(last)).all()[::-1]

    def _new(self, session: Session, kind: JobKind, settings: dict[str, Any], model: str | None) -> Job:
        """A queued job, with its number."""
        job = Job(
            kind=kind,
            settings=settings,
            model=model,
            state="queued",
            position=_last_position(session) + 1,
            folder="",
            created=datetime.now(UTC),
            events=0,
        )
        session.add(job)
        session.flush()
        job.folder = str(_free(Path("jobs"), f"{job.id:04d}", lambda path: (self._store.folder / path).exists()))
        JobRecord(session, job.id).enter("queued")
        return job

    def _queued(self, job: Job) -> Job:
        self._queue.wake()
        return job


async def _within(seconds: float | None, happened: asyncio.Event) -> bool:
    """Whether it happens in time."""
    try:
        async with asyncio.timeout(seconds):
            return await happened.wait()
    except TimeoutError:
        return False


def _address(server: str) -> str:
    """The address as the search will read it. Raises UsageError, of the request's own field."""
    try:
        return api_url(server)
    except UsageError as error:
        raise UsageError(str(error), names=("server",)) from error


def _refuse_missing(session: Session, dataset_id: str) -> None:
    dataset = session.get(Dataset, dataset_id)
    if dataset is None or dataset.deleted_at is not None:
        raise NotFoundError(f"there is no dataset {dataset_id!r}")


def _free_adapter(folder: Path, model: str, job_id: int) -> Path:
    """A folder that no adapter has, and no training had."""
    name = f"{re.sub(r'[^A-Za-z0-9.-]+', '-', model).strip('-.')}-{job_id:04d}"
    return _free(folder, name, lambda path: path.exists() or checkpoints_of(path).exists())


def _free(folder: Path, name: str, is_taken: Callable[[Path], bool]) -> Path:
    """A folder of that name, or of the next one behind it that is not taken: an earlier studio may have left some."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(folder / one for one in names if not is_taken(folder / one))


def _last_position(session: Session) -> int:
    return session.scalar(select(func.max(Job.position))) or 0


def _spread(session: Session, job_id: int, kind: EventKind, points: int) -> Sequence[dict[str, Any]]:
    """The data of at most so many events of a kind, evenly spread, the first and the newest among them."""
    of_kind = (Event.job_id == job_id, Event.kind == kind)
    newest = session.scalar(select(func.max(Event.ordinal)).where(*of_kind))
    if newest is None:
        return []
    gaps = max(1, min(points, newest + 1) - 1)
    places = sorted({round(gap * newest / gaps) for gap in range(gaps + 1)})[-points:]
    return session.scalars(select(Event.data).where(*of_kind, Event.ordinal.in_(places)).order_by(Event.ordinal)).all()


def _as_done_last(points: Sequence[_Point]) -> Sequence[_Point]:
    """Without those that a later one goes back behind."""
    kept: list[_Point] = []
    for point in reversed(points):
        if not kept or point.step < kept[-1].step:
            kept.append(point)
    return kept[::-1]
