"""Trying a fine-tune: one question, two answers as they are made, and where they differ."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse

from pytest_llmbench.studio.pages import job_words
from pytest_llmbench.studio.pages.difference import marked
from pytest_llmbench.studio.pages.rendering import PageRoute, page, spoken
from pytest_llmbench.studio.services import Studio

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_Answer = Annotated[str, Form(max_length=200_000)]


@router.get("/try")
def choose(request: Request, studio: Studio, job: Annotated[int | None, Query()] = None) -> HTMLResponse:
    """A question for a finished training; the newest one where none is named."""
    say = spoken(request)
    trained = [(one.id, job_words.title(one, say)) for one in studio.jobs.list() if _can_answer(one.kind, one.state)]
    return page(request, "try", trained=trained, chosen=job if job is not None else trained[0][0] if trained else None)


@router.post("/try/difference")
def difference(request: Request, base: _Answer = "", finetuned: _Answer = "") -> HTMLResponse:
    """Both answers, with what only one of them says."""
    return page(request, "difference", pieces=marked(base, finetuned), same=base == finetuned)


def _can_answer(kind: str, state: str) -> bool:
    return kind == "finetune" and state == "finished"
