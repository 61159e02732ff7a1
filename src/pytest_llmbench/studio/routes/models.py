"""Models to choose from, and what a training will take."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from pytest_llmbench.studio.models import AvailableModels, Estimate, Hyperparameters, Rows, Speed, newest_speed
from pytest_llmbench.studio.problems import problems
from pytest_llmbench.studio.services import Services, Studio

router = APIRouter(prefix="/api", tags=["models"])


class _Chosen(Hyperparameters, extra="forbid"):
    """What would be trained."""

    model_name: str = Field(min_length=1, max_length=200, examples=["smollm2-135m"])
    dataset_id: str | None = Field(default=None, max_length=64, description="without one, the time is not told")


@router.get(
    "/models/available",
    operation_id="available_models",
    response_model=AvailableModels,
    responses=problems(),
)
async def available_models(studio: Studio) -> Response:
    """Every model of the registry, with the preset it trains well with, and whether that fits this machine.

    `vram_required_gb` and the ratings are the registry's; `fit` is computed for this machine from the model's shapes.
    """
    return Response(studio.models.available_json(), media_type="application/json")


@router.get("/estimate", operation_id="estimate", responses=problems(404))
async def estimate(studio: Studio, chosen: Annotated[_Chosen, Query()]) -> Estimate:
    """What a training will take of this machine's memory and time. Fields that are left out come from the preset."""
    return await asyncio.to_thread(_estimate, studio, chosen)


def _estimate(studio: Services, chosen: _Chosen) -> Estimate:
    rows: Rows | None = None
    speed: Speed | None = None
    if chosen.dataset_id is not None:
        dataset = studio.datasets.get(chosen.dataset_id)
        rows = studio.datasets.size(dataset)
        speed = newest_speed(studio.jobs.list(), chosen.model_name)
    return studio.models.estimate(chosen.model_name, chosen, rows, speed)
