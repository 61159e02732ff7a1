"""`/api/health`: that the studio answers, and which version does."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from pytest_llmbench import __version__
from pytest_llmbench.studio.problems import problems

router = APIRouter(prefix="/api", tags=["health"])


class Health(BaseModel):
    """The studio is up."""

    model_config = ConfigDict(frozen=True)

    status: str
    version: str


@router.get("/health", operation_id="health", responses=problems())
async def health() -> Health:
    """Whether the studio answers."""
    return Health(status="ok", version=__version__)
