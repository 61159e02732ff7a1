"""The pages that people see: server-rendered, in English and French, usable by keyboard alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from pytest_llmbench.core.locale import checked_language
from pytest_llmbench.studio.pages import comparing, dashboard, model_list, programs, training, trying, uploading
from pytest_llmbench.studio.pages.language import COOKIE
from pytest_llmbench.studio.pages.rendering import PageRoute, no_page

__all__ = ["no_page", "router", "static"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)
static = StaticFiles(
    packages=[("pytest_llmbench", "studio/pages/static"), ("pytest_llmbench", "reports/html/assets")],
)
"""Scripts and styles; the reports' style too, which the pages share."""

for _part in (uploading, training, dashboard, trying, comparing, model_list, programs):
    router.include_router(_part.router)

_YEAR_S = 365 * 86400


@router.get("/")
async def start() -> RedirectResponse:
    """Where a person begins."""
    return RedirectResponse("/dashboard")


@router.post("/language")
async def choose_language(
    _request: Request, language: Annotated[str, Form()], back: Annotated[str, Form()] = "/"
) -> RedirectResponse:
    """Keep the choice in a cookie, and show the same page again."""
    answer = RedirectResponse(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/", 303)
    answer.set_cookie(COOKIE, checked_language(language), max_age=_YEAR_S, samesite="lax", httponly=True)
    return answer
