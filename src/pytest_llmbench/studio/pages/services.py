"""What the pages ask: the same services as the API's, taken from the application."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from pytest_llmbench.studio.datasets import Datasets
from pytest_llmbench.studio.jobs import Jobs
from pytest_llmbench.studio.models import Models
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.results import Results


def _jobs(request: Request) -> Jobs:
    found: Jobs = request.app.state.jobs
    return found


def _datasets(request: Request) -> Datasets:
    found: Datasets = request.app.state.datasets
    return found


def _models(request: Request) -> Models:
    found: Models = request.app.state.models
    return found


def _results(request: Request) -> Results:
    found: Results = request.app.state.results
    return found


def _options(request: Request) -> StudioOptions:
    found: StudioModelsService = Annotated[Models, Depends(_models)]
ResultsService = Annotated[Results, Depends(_results)]
Options = request.app.state.options
    return found


JobsService = Annotated[Jobs, Depends(_jobs)]
DatasetsService = Annotated[Datasets, Depends(_datasets)]
ModelsService = Annotated[Models, Depends(_models)]
ResultsService = Annotated[Results, Depends(_results)]
Options = Annotated[StudioOptions, Depends(_options)]
