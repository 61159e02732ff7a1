"""The web application: what it is made of, and what lives as long as it does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from pytest_llmbench import __version__
from pytest_llmbench.studio import pages
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.problems import tell_problems
from pytest_llmbench.studio.routes import health
from pytest_llmbench.studio.safety import Safety


def create_app(options: StudioOptions) -> FastAPI:
    """The application, ready for a server; what it opens, it opens when the server starts it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.options = options
        yield

    app = FastAPI(title="llmbench studio", version=__version__, lifespan=lifespan)
    app.include_router(health.router)
    app.include_router(pages.router)
    app.mount("/static", pages.static)
    tell_problems(app)
    app.add_middleware(Safety, options=options)
    return app
