"""Runs, comparisons and reports of the verdicts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse

from pytest_llmbench.studio.problems import problems
from pytest_llmbench.studio.results import Comparison, RunDetail, RunList
from pytest_llmbench.studio.safety import REPORT_POLICY
from pytest_llmbench.studio.services import Studio

router = APIRouter(prefix="/api", tags=["results"])

_TITLE = r"^\d{4,}_[\w.-]+$"
RunId = Annotated[str, Path(max_length=200, pattern=_TITLE, examples=["0007_accepted"])]


_NEWEST = "$response.body#/runs/0/id"
_AFTER_LIST = {
    **{name: {"operationId": name, "parameters": {"run_id": _NEWEST}} for name in ("run", "run_report")},
    "comparison": {"operationId": "comparison", "parameters": {"baseline": _NEWEST, "run": _NEWEST}},
}


@router.get(
    "/runs",
    operation_id="runs",
    responses={**problems(), 200: {"description": "The runs", "links": _AFTER_LIST}},
)
def runs(studio: Studio) -> RunList:
    """All saved runs, the newest first."""
    return studio.results.list()


@router.get("/runs/{run_id}", operation_id="run", responses=problems(404))
def run(studio: Studio, run_id: RunId) -> RunDetail:
    """One run with its verdict."""
    return studio.results.get(run_id)


@router.get(
    "/runs/{run_id}/report",
    operation_id="run_report",
    response_class=HTMLResponse,
    responses=problems(404),
)
def run_report(
    studio: Studio, run_id: RunId, language: Annotated[Literal["en", "fr"] | None, Query()] = None
) -> HTMLResponse:
    """The run's report, one page; it is shown in a sandbox without a way to this API."""
    page = studio.results.report(run_id, language)
    return HTMLResponse(page, headers={"content-security-policy": REPORT_POLICY})


@router.get("/comparisons", operation_id="comparison", responses=problems(404))
def comparison(
    studio: Studio,
    baseline: Annotated[str, Query(max_length=200, pattern=_TITLE, examples=["0001_accepted"])],
    run_id: Annotated[str, Query(alias="run", max_length=200, pattern=_TITLE, examples=["0002_mine"])],
) -> Comparison:
    """One run held against another, case by case, as `llmbench compare` does."""
    return studio.results.compare(baseline, run_id)
