"""Uploading: the datasets that are there, one of them with what it holds, deleting and undoing that."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from pytest_llmbench.studio.pages.rendering import PageRoute, page
from pytest_llmbench.studio.services import Studio

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_SEE_OTHER = 303


@router.get("/upload")
def upload(
    request: Request,
    studio: Studio,
    deleted: Annotated[str, Query(max_length=64)] = "",
) -> HTMLResponse:
    """Where a file is chosen, and the datasets so far; the one that was just deleted can be brought back."""
    gone = next((one for one in studio.datasets.list(deleted=True) if one.id == deleted), None)
    most = studio.options.settings.studio.upload_mb * 2**20
    return page(request, "upload", datasets=studio.datasets.list(), gone=gone, most=most)


@router.get("/datasets/{key}")
async def dataset(request: Request, studio: Studio, key: str) -> HTMLResponse:
    """One dataset: its first rows, what it holds, and what is wrong with it."""
    return page(request, "dataset", dataset=studio.datasets.detail(key))


@router.get("/datasets/{key}/check")
async def check(request: Request, studio: Studio, key: str) -> HTMLResponse:
    """What the check of a dataset found so far."""
    return page(request, "dataset_check", dataset=studio.datasets.detail(key))


@router.post("/datasets/{key}/delete")
def delete(studio: Studio, key: str) -> RedirectResponse:
    """Put it away; the list says how to bring it back."""
    return RedirectResponse(f"/upload?deleted={studio.datasets.delete(key).id}", _SEE_OTHER)


@router.post("/datasets/{key}/restore")
def restore(studio: Studio, key: str) -> RedirectResponse:
    """Bring it back."""
    return RedirectResponse(f"/datasets/{studio.datasets.restore(key).id}", _SEE_OTHER)
