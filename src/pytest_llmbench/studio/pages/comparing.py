"""Comparing: the verdict of each benchmark first, then its report; and any two saved runs beside each other."""

from __future__ import annotations

from typing import Annotated

import markupsafe
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from pytest_llmbench.reports.gate_sentences import COMPARED, GATED
from pytest_llmbench.reports.outcomes import SIGNS
from pytest_llmbench.reports.renderers.html import Html
from pytest_llmbench.reports.views.gate import gate_report
from pytest_llmbench.runs.typed import GateDocument, RunDocument
from pytest_llmbench.studio.pages.rendering import PageRoute, page, spoken
from pytest_llmbench.studio.services import JobId, Studio

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_Text = Annotated[str, Query(max_length=300)]


@router.get("/compare")
def compare(request: Request, studio: Studio) -> HTMLResponse:
    """All runs, and two to choose."""
    found = studio.results.list()
    return page(
        request, "compare", runs=found.runs, unreadable=found.unreadable, signs=SIGNS, gated=GATED, compared=COMPARED
    )


@router.get("/compare/runs")
def compare_two(request: Request, studio: Studio, baseline: _Text, run: _Text) -> HTMLResponse:
    """One run held against another."""
    found = studio.results.compare(baseline, run)
    return page(request, "comparison", found=found, verdict=_verdict(request, found.gate))


@router.get("/compare/jobs/{job_id}")
def compare_job(studio: Studio, job_id: JobId) -> RedirectResponse:
    """The verdict of a benchmark that was started here."""
    result = studio.jobs.get(job_id).result or {}
    return RedirectResponse(f"/compare/{result['run']}" if "run" in result else f"/jobs/{job_id}", 303)


@router.get("/compare/{run}")
def verdict(request: Request, studio: Studio, run: str) -> HTMLResponse:
    """One run: is the fine-tune better than its base?"""
    found = studio.results.head(run)
    judged = [gate for gate in (found.comparison, found.gate) if gate is not None]
    verdicts = [_verdict(request, gate, found) for gate in judged]
    return page(request, "verdict", run=run, verdicts=verdicts)


def _verdict(request: Request, gate: GateDocument, document: RunDocument | None = None) -> markupsafe.Markup:
    """The sections of the report on a gate, which escapes what users wrote."""
    report = gate_report(gate, spoken(request).language, document)
    return markupsafe.Markup(Html().sections(report))  # noqa: S704
