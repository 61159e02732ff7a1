"""The web application: what it is made of, and what lives as long as it does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pytest_llmbench import __version__
from pytest_llmbench.studio import pages
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.problems import ProblemDetails, tell_problems
from pytest_llmbench.studio.routes import datasets, health, jobs, models, results
from pytest_llmbench.studio.safety import Safety
from pytest_llmbench.studio.services import opened

OPENAPI = "/api/openapi.json"
_ABOUT = "Choose a model, upload a dataset, train, watch, try and compare. Errors are problem documents (RFC 9457)."


def create_app(options: StudioOptions) -> FastAPI:
    """The application, ready for a server; what it opens, it opens when the server starts it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.options = options
        async with opened(options) as services:
            app.state.services = services
            yield

    app = _Studio(
        title="llmbench studio",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        openapi_url=OPENAPI,
        docs_url=None,  # they load scripts from elsewhere; a page of the studio shows the same
        redoc_url=None,
    )
    for part in (health, models, datasets, jobs, results):
        app.include_router(part.router)
    app.include_router(pages.router)
    app.mount("/static", pages.static)
    tell_problems(app)
    app.add_exception_handler(404, pages.no_page)
    app.add_middleware(Safety, options=options)
    return app


class _Studio(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document, with the one form that all problems have."""
        if self.openapi_schema is None:
            document = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            schema = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas = document["components"]["schemas"]
            schemas |= schema.pop("$defs")
            schemas["ProblemDetails"] = schema
            self.openapi_schema = document
        return self.openapi_schema
