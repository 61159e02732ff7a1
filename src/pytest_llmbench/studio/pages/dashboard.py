"""The dashboard: all jobs and the queue, and one job as it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from pytest_llmbench.reports.recorded import recorded_facts
from pytest_llmbench.studio.job_events import LogData, Problem, StepData
from pytest_llmbench.studio.jobs import StartBenchmark
from pytest_llmbench.studio.pages import job_words
from pytest_llmbench.studio.pages.rendering import PageRoute, page, spoken
from pytest_llmbench.studio.services import JobId, Services, Studio
from pytest_llmbench.studio.store import OVER, Job

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_Seen = Annotated[str, Query(max_length=64)]
_NO_CONTENT, _SEE_OTHER = 204, 303


@router.get("/dashboard")
def dashboard(request: Request, studio: Studio) -> HTMLResponse:
    """Every job."""
    return _jobs_page(request, studio, "dashboard")


@router.get("/dashboard/jobs")
def job_list(request: Request, studio: Studio, seen: _Seen = "") -> Response:
    """The jobs again, unless they are as the page has them."""
    if seen == _mark(studio.jobs.list()):
        return Response(status_code=_NO_CONTENT)
    return _jobs_page(request, studio, "job_list")


@router.post("/queue/{job_id}/{way}")
def move(request: Request, studio: Studio, job_id: JobId, way: Literal["up", "down"]) -> Response:
    """Let a job in the queue change places with the one before it or after it."""
    queue = [job.id for job in studio.jobs.list() if job.state == "queued"]
    if job_id in queue:
        place = queue.index(job_id)
        other = min(max(place + (-1 if way == "up" else 1), 0), len(queue) - 1)
        queue[place], queue[other] = queue[other], queue[place]
    else:
        queue.append(job_id)  # which says why that cannot be
    studio.jobs.reorder(queue)
    return _jobs_page(request, studio, "job_list")


@router.get("/jobs/{job_id}")
def job_page(request: Request, studio: Studio, job_id: JobId) -> HTMLResponse:
    """One job, with its course so far."""
    job = studio.jobs.get(job_id)
    logged = (event for event in studio.jobs.log(job_id) if event.sequence <= job.events)  # later ones will be streamed
    lines = [LogData.model_validate(event.data).line for event in logged]
    given = {name: value for name, value in job.settings.items() if value is not None}
    return page(
        request, "job", lines=lines, started_with=recorded_facts(given, spoken(request)), **_shown(request, job)
    )


@router.get("/jobs/{job_id}/panel")
def panel(request: Request, studio: Studio, job_id: JobId, seen: _Seen) -> Response:
    """Where the job is now; the whole page anew where its state is another one."""
    job = studio.jobs.get(job_id)
    if job.state != seen:
        return Response(status_code=_NO_CONTENT, headers={"HX-Refresh": "true"})
    return page(request, "job_panel", **_shown(request, job))


@router.post("/jobs/{job_id}/cancel")
def cancel(studio: Studio, job_id: JobId) -> RedirectResponse:
    """End it."""
    studio.jobs.cancel(job_id)
    return RedirectResponse(f"/jobs/{job_id}", _SEE_OTHER)


@router.post("/jobs/{job_id}/resume")
def resume(studio: Studio, job_id: JobId) -> RedirectResponse:
    """Go on with it."""
    studio.jobs.resume(job_id)
    return RedirectResponse(f"/jobs/{job_id}", _SEE_OTHER)


@router.post("/jobs/{job_id}/benchmark")
def benchmark(studio: Studio, job_id: JobId) -> RedirectResponse:
    """Compare the adapter that a training made with its base."""
    return RedirectResponse(f"/jobs/{studio.jobs.start_benchmark(job_id, StartBenchmark()).id}", _SEE_OTHER)


def _jobs_page(request: Request, studio: Services, template: str) -> HTMLResponse:
    found, say = studio.jobs.list(), spoken(request)
    return page(
        request,
        template,
        mark=_mark(found),
        working=[_shown(request, job) for job in found if job.state in ("running", "cancelling")],
        queue=[_shown(request, job) for job in found if job.state == "queued"],
        over=[_shown(request, job) for job in found if job.state in OVER],
        state_words={state: say(text) for state, text in job_words.STATES.items()},
    )


def _shown(request: Request, job: Job) -> dict[str, object]:
    """A job as templates take it."""
    say = spoken(request)
    return {
        "job": job,
        "title": job_words.title(job, say),
        "state": say(job_words.STATES[job.state]),
        "step": StepData.model_validate(job.progress) if job.progress else None,
        "problem": Problem.model_validate(job.problem) if job.problem else None,
        "is_over": job.state in OVER,
    }


def _mark(jobs: Sequence[Job]) -> str:
    """Changes whenever a list of jobs looks different."""
    told = "|".join(f"{job.id} {job.state} {job.position} {job.events}" for job in jobs)
    return hashlib.sha256(told.encode()).hexdigest()[:16]
