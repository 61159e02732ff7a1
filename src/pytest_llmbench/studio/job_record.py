"""What is written of a job: its events, each once and in order, and its state; all in the transaction of its caller."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pytest_llmbench.studio.job_events import Problem, StateData, StepData
from pytest_llmbench.studio.store import OVER, Event, EventKind, Job, JobState, NotFoundError


class JobRecord:
    """A job in a session that writes."""

    def __init__(self, session: Session, job_id: int) -> None:
        self._session = session
        self.job = find_job(session, job_id)
        self._next: dict[EventKind, int] = {}

    def add(self, kind: EventKind, data: BaseModel, at: datetime | None = None) -> None:
        """One more event. `at` is now where nothing else is known."""
        job = self.job
        job.events += 1
        sent = data.model_dump(mode="json")
        self._session.add(
            Event(
                job_id=job.id,
                sequence=job.events,
                kind=kind,
                ordinal=self._ordinal(kind),
                at=at or datetime.now(UTC),
                data=sent,
            )
        )
        if isinstance(data, StepData):
            job.progress = sent

    def enter(self, state: JobState, problem: Problem | None = None, result: dict[str, Any] | None = None) -> None:
        """Put the job into another state, which is an event too."""
        job, now = self.job, datetime.now(UTC)
        job.state, job.result = state, result
        job.problem = problem.model_dump(mode="json") if problem else None
        job.ended = now if state in OVER else None
        if state == "running":
            job.started = job.started or now
        self.add("state", StateData(state=state, problem=problem), now)

    def _ordinal(self, kind: EventKind) -> int:
        if kind not in self._next:
            newest = select(func.max(Event.ordinal)).where(Event.job_id == self.job.id, Event.kind == kind)
            found = self._session.scalar(newest)
            self._next[kind] = 0 if found is None else found + 1
        number = self._next[kind]
        self._next[kind] = number + 1
        return number


def find_job(session: Session, job_id: int) -> Job:
    """The job of that number. Raises NotFoundError."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job
