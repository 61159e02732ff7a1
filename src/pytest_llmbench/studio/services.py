"""What a running studio consists of: the pages and the API call the same functions."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Request

from pytest_llmbench.studio.answers import Answers
from pytest_llmbench.studio.datasets import Datasets
from pytest_llmbench.studio.jobs import Jobs
from pytest_llmbench.studio.models import Models
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.results import Results
from pytest_llmbench.studio.store import Store, open_store

LARGEST_ID = 2**63 - 1
"""What the store can hold."""
JobId = Annotated[int, Path(ge=1, le=LARGEST_ID, examples=[1])]
"""A job in the address of a page or of the API."""


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """Everything that pages and routes ask."""

    options: StudioOptions
    store: Store
    models: Models
    datasets: Datasets
    jobs: Jobs
    answers: Answers
    results: Results


@contextlib.asynccontextmanager
async def opened(options: StudioOptions) -> AsyncIterator[Services]:
    """Open the studio's folder, and let go of everything in the end. Jobs that run go on; the next studio has them.

    Raises:
        InUseError: another studio has the folder.
        NotReadyError: it cannot be used.
    """
    store = open_store(options.folder)
    try:
        services = Services(
            options,
            store,
            Models(options),
            Datasets(store, options),
            Jobs(store, options),
            Answers(options),
            Results(options),
        )
        services.datasets.start()
        services.jobs.start()
        try:
            yield services
        finally:
            services.jobs.close()
            await services.answers.close()
            await services.datasets.close()
    finally:
        store.close()


async def _services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Studio = Annotated[Services, Depends(_services_of)]
"""The services, as a route takes them."""
