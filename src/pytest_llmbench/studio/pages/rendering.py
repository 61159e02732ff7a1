"""From a template to an answer: one Jinja environment, the reader's language, and errors as a page or a fragment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import jinja2
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from pytest_llmbench.core.errors import LLMBenchError
from pytest_llmbench.core.locale import LANGUAGES, N_, Words
from pytest_llmbench.studio.pages import amounts
from pytest_llmbench.studio.pages.language import NAMES, words_for
from pytest_llmbench.studio.problems import problem, status_of

NAVIGATION = (
    ("/upload", N_("Upload")),
    ("/training", N_("Training")),
    ("/dashboard", N_("Dashboard")),
    ("/try", N_("Try it")),
    ("/compare", N_("Compare")),
    ("/models", N_("Models")),
    ("/programs", N_("For programs")),
)
_UNPROCESSABLE = 422


@functools.cache
def environment() -> jinja2.Environment:
    """The templates. Everything that is written into them is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_llmbench", "studio/pages/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # they do not change while a studio runs
    )


def spoken(request: Request) -> Words:
    """The words of whoever asks."""
    return words_for(request, request.app.state.options.settings.output.language)


def page(request: Request, template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """An HTML answer made of `template`, a whole page or a fragment of one."""
    say = spoken(request)
    text = (
        environment()
        .get_template(f"{template}.html.j2")
        .render(
            say=say,
            plural=say.plural,  # under this name its sentences are found for the catalogue
            here=request.url.path,
            back=str(request.url.replace(scheme="", netloc="")) if request.method == "GET" else "/",
            navigation=NAVIGATION,
            languages=[(name, NAMES[name]) for name in LANGUAGES],
            size=lambda count: amounts.size(count, say),
            span=lambda seconds: amounts.span(seconds, say),
            moment=lambda at: amounts.moment(at, say),
            **values,
        )
    )
    headers = {"Vary": "Cookie, Accept-Language, HX-Request", "Cache-Control": "no-store"}
    return HTMLResponse(text.encode("utf-8", "replace"), status, headers)


def is_fragment(request: Request) -> bool:
    """Whether htmx asks, for a part of the page that it has."""
    return request.headers.get("HX-Request") == "true"


def refusal(request: Request, status: int, message: str) -> HTMLResponse:
    """What is wrong: in the place for messages of the page that asked, or as a page of its own."""
    if not is_fragment(request):
        return page(request, "problem", status, message=message)
    answer = page(request, "message", status, message=message)
    answer.headers["HX-Retarget"], answer.headers["HX-Reswap"] = "#messages", "innerHTML show:none"
    return answer


async def no_page(request: Request, error: Exception) -> Response:
    """What an address that leads nowhere is answered with: a page, or a problem document below `/api`."""
    assert isinstance(error, HTTPException)  # noqa: S101  # what it is registered for
    if request.url.path.startswith("/api/"):
        return problem(error.status_code, str(error.detail), "not_found")
    say = spoken(request)
    return refusal(request, error.status_code, say("There is no page {address} here.", address=request.url.path))


class PageRoute(APIRoute):
    """A route whose errors people read: the library's own messages, in the same words as on the command line."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the library's errors turned into pages."""
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except LLMBenchError as error:
                return refusal(request, status_of(error), str(error))
            except HTTPException as error:
                return refusal(request, error.status_code, str(error.detail))
            except RequestValidationError as error:
                faults = (f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
                return refusal(request, _UNPROCESSABLE, "\n".join(faults))

        return answered
