"""The models to choose from, as cards."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pytest_llmbench.core.locale import N_
from pytest_llmbench.studio.models import Fits
from pytest_llmbench.studio.pages.rendering import PageRoute, page, spoken
from pytest_llmbench.studio.services import Studio

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_FITS: Mapping[Fits, str] = {
    "fits": N_("fits"),
    "tight": N_("tight"),
    "does_not_fit": N_("does not fit"),
    "unknown": N_("not known"),
}


@router.get("/models")
def model_list(request: Request, studio: Studio) -> HTMLResponse:
    """Every model of the registry beside this machine."""
    found, say = studio.models.available(), spoken(request)
    fits = {verdict: say(text) for verdict, text in _FITS.items()}
    return page(request, "models", cards=found.models, machine=found.machine, fits=fits)
