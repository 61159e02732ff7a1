"""Jobs: started, watched as they run, cancelled, resumed; and the fine-tune asked beside its base."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.studio.answers import AnswerEvent, Question
from pytest_llmbench.studio.job_events import Curves
from pytest_llmbench.studio.jobs import StartAutotune, StartBenchmark, StartFinetuning
from pytest_llmbench.studio.problems import problems
from pytest_llmbench.studio.services import LARGEST_ID, JobId, Studio
from pytest_llmbench.studio.store import Event, EventKind, Job, JobKind, JobState

router = APIRouter(prefix="/api", tags=["jobs"])

_RETRY_MS = 2000
_PING_S = 15.0
_EVENT_SCHEMA = {
    "type": "object",
    "properties": {
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobEvent"},
        },
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class JobDocument(_Document):
    """A job. `settings` are those that were chosen, whole; `events` is the sequence of its newest event."""

    id: int = Field(examples=[1])
    kind: JobKind
    state: JobState
    dataset_id: str | None
    parent_id: int | None = Field(description="the training whose adapter is benchmarked")
    model: str | None
    settings: dict[str, Any]
    position: int = Field(description="place in the queue")
    events: int
    created: datetime
    started: datetime | None
    ended: datetime | None
    progress: dict[str, Any] | None = Field(description="the newest step: loss, accuracy, tokens/s, memory, time left")
    problem: dict[str, Any] | None = Field(description="why it failed, in the words of the command line")
    result: dict[str, Any] | None
    output: str | None = Field(description="the adapter's folder")


class JobList(_Document):
    """Those that run, the queue in its order, then the others, the newest first."""

    jobs: tuple[JobDocument, ...]


class Order(_Document):
    """The queue as it shall be; queued jobs that are not named follow."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{"job_ids": [3, 2]}]})

    job_ids: tuple[Annotated[int, Field(ge=1, le=LARGEST_ID)], ...] = Field(max_length=1000)


class JobEvent(_Document):
    """Something that happened. `data` is a step, an evaluation, a line of the log, or the new state."""

    sequence: int
    kind: EventKind
    at: datetime
    data: dict[str, Any]


class Log(_Document):
    """The newest lines that a job wrote."""

    events: tuple[JobEvent, ...]


def _links(*operations: str) -> dict[str, Mapping[str, Any]]:
    """Links from a job in an answer to what can be done with it."""
    return {name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}} for name in operations}


_AFTER_START = ("job", "job_events", "job_curve", "job_log", "cancel_job", "resume_job", "start_benchmark", "query_job")
_QUEUED = {"description": "It is queued", "links": _links(*_AFTER_START)}
_STOPPED = {"description": "It is being ended", "links": _links("job", "resume_job")}


@router.post(
    "/start-finetuning",
    operation_id="start_finetuning",
    status_code=201,
    responses={**problems(404, 409), 201: _QUEUED},
)
def start_finetuning(studio: Studio, request: StartFinetuning) -> JobDocument:
    """Queue a training. Fields that are left out come from the model's preset; `settings` shows what was chosen."""
    return JobDocument.model_validate(studio.jobs.start_finetuning(request))


@router.post("/autotune", operation_id="start_autotune", status_code=201, responses={**problems(409), 201: _QUEUED})
def start_autotune(studio: Studio, request: StartAutotune) -> JobDocument:
    """Queue a search for the users that a server holds. Only servers on this machine: others are not ours to load."""
    return JobDocument.model_validate(studio.jobs.start_autotune(request))


@router.get("/jobs", operation_id="jobs", responses=problems())
def jobs(studio: Studio) -> JobList:
    """All jobs."""
    return JobList(jobs=tuple(map(JobDocument.model_validate, studio.jobs.list())))


@router.put("/jobs/queue", operation_id="reorder_jobs", responses=problems(404, 409))
def reorder_jobs(studio: Studio, order: Order) -> JobList:
    """Put the queue in another order."""
    return JobList(jobs=tuple(map(JobDocument.model_validate, studio.jobs.reorder(order.job_ids))))


@router.get("/jobs/{job_id}", operation_id="job", responses=problems(404))
def job(studio: Studio, job_id: JobId) -> JobDocument:
    """One job."""
    return JobDocument.model_validate(studio.jobs.get(job_id))


@router.post("/jobs/{job_id}/cancel", operation_id="cancel_job", responses={**problems(404, 409), 200: _STOPPED})
def cancel_job(studio: Studio, job_id: JobId) -> JobDocument:
    """End a job and all its processes. A training keeps its newest checkpoint, and can be resumed."""
    return JobDocument.model_validate(studio.jobs.cancel(job_id))


@router.post("/jobs/{job_id}/resume", operation_id="resume_job", responses={**problems(404, 409), 200: _QUEUED})
def resume_job(studio: Studio, job_id: JobId) -> JobDocument:
    """Queue a job again that was interrupted, cancelled or failed; a training goes on from its checkpoint."""
    return JobDocument.model_validate(studio.jobs.resume(job_id))


@router.post(
    "/jobs/{job_id}/benchmark",
    operation_id="start_benchmark",
    status_code=201,
    responses={**problems(404, 409), 201: _QUEUED},
)
def start_benchmark(studio: Studio, job_id: JobId, request: StartBenchmark) -> JobDocument:
    """Queue the main job for a training's adapter: every case answered by base and fine-tune, and a verdict."""
    return JobDocument.model_validate(studio.jobs.start_benchmark(job_id, request))


@router.get("/jobs/{job_id}/curve", operation_id="job_curve", responses=problems(404))
def job_curve(studio: Studio, job_id: JobId, points: Annotated[int, Query(ge=2, le=5000)] = 500) -> Curves:
    """Loss, accuracy and speed over the steps, thinned out evenly to so many points."""
    return studio.jobs.curve(job_id, points)


@router.get("/jobs/{job_id}/log", operation_id="job_log", responses=problems(404))
def job_log(studio: Studio, job_id: JobId, last: Annotated[int, Query(ge=1, le=5000)] = 200) -> Log:
    """The newest lines of a job's log."""
    return Log(events=tuple(map(JobEvent.model_validate, studio.jobs.log(job_id, last))))


async def _known_job(studio: Studio, job_id: JobId) -> Job:
    return await asyncio.to_thread(studio.jobs.get, job_id)


KnownJob = Annotated[Job, Depends(_known_job)]


class _EventStream(StreamingResponse):
    """Events that are written here: what FastAPI makes of its own class takes two tasks a reader and a sending each."""

    media_type = "text/event-stream"


@router.get(
    "/jobs/{job_id}/events",
    operation_id="job_events",
    response_class=_EventStream,
    responses=problems(404),
    dependencies=[Depends(_known_job)],
    openapi_extra={"responses": {"200": {"content": {"text/event-stream": {"itemSchema": _EVENT_SCHEMA}}}}},
)
async def job_events(
    studio: Studio,
    job_id: JobId,
    last_event_id: Annotated[int | None, Header(ge=0, le=LARGEST_ID, alias="Last-Event-ID")] = None,
    after: Annotated[int, Query(ge=0, le=LARGEST_ID, description="begin behind this sequence")] = 0,
) -> _EventStream:
    """Everything that happens in a job, as server-sent events, until it is over: then comes `end`.

    Each has its sequence as id, so that a browser which reconnects misses nothing and hears nothing twice.
    """
    events = studio.jobs.events(job_id, after if last_event_id is None else last_event_id, _PING_S)
    return _EventStream(_streamed(events), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _streamed(events: AsyncGenerator[Sequence[Event], None]) -> AsyncIterator[bytes]:
    """Several events are sent at once where several have happened: each sending costs more than what is sent."""
    yield format_sse_event(retry=_RETRY_MS)
    async with contextlib.aclosing(events):
        async for some in events:
            yield b"".join(map(_sent, some)) or KEEPALIVE_COMMENT
    yield format_sse_event(event="end", data_str="{}")


def _sent(event: Event) -> bytes:
    document = JobEvent.model_validate(event)
    return format_sse_event(event=event.kind, id=str(event.sequence), data_str=document.model_dump_json())


async def _pair(studio: Studio, known: KnownJob) -> str:
    return studio.answers.pair(known)


@router.post(
    "/jobs/{job_id}/query", operation_id="query_job", response_class=EventSourceResponse, responses=problems(404, 409)
)
async def query_job(
    studio: Studio, pair: Annotated[str, Depends(_pair)], question: Question
) -> AsyncIterator[AnswerEvent]:
    """Ask the base and the fine-tune of a training one question; both answers come as they are made."""
    async for event in studio.answers.ask(pair, question):
        yield event
