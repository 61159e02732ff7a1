"""Errors as programs read them: RFC 9457 problem documents in the words of the command line."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pytest_llmbench.core.errors import LLMBenchError

MEDIA_TYPE = "application/problem+json"

_STATUS: Mapping[str, int] = {
    "not_found": 404,
    "missing_run": 404,
    "wrong_state": 409,
    "in_use": 409,
    "not_ready": 409,
    "model": 409,
    "server": 409,
    "media_type": 415,
}
"""By the kind of error. What a user can mend in the request is 422; what the machine lacks conflicts with it: 409."""
_HTTP_CODES: Mapping[int, str] = {404: "not_found", 413: "too_large"}
_WRONG_USE = 422


class Fault(BaseModel):
    """One thing that is wrong with a request, and where it stands (`body.learning_rate`)."""

    model_config = ConfigDict(frozen=True)

    where: str
    message: str


class ProblemDetails(BaseModel):
    """What is wrong, where, and what to do: the message that the command line gives for the same mistake."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:llmbench:problem:usage",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "rows.jsonl:3: not valid JSON: Expecting value (column 1)",
                    "code": "usage",
                    "names": [],
                    "faults": [],
                }
            ]
        },
    )

    type: str = Field(description="a name for the kind of problem that never changes")
    title: str = Field(description="the HTTP status in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is wrong, where, and what to do")
    code: str = Field(description="the kind of error, as the library's exceptions name it")
    names: tuple[str, ...] = Field(default=(), description="settings and fields that the detail tells to look at")
    faults: tuple[Fault, ...] = Field(default=(), description="each fault of the request's fields")


def problem(
    status: int, detail: str, code: str, *, names: Sequence[str] = (), faults: Sequence[Fault] = ()
) -> JSONResponse:
    """The answer that tells a problem."""
    document = ProblemDetails(
        type=f"urn:llmbench:problem:{code}",
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        names=tuple(names),
        faults=tuple(faults),
    )
    return JSONResponse(document.model_dump(mode="json"), status, media_type=MEDIA_TYPE)


def status_of(error: LLMBenchError) -> int:
    """The HTTP status that an error of the library is told with."""
    return _STATUS.get(error.code, _WRONG_USE)


def told(error: LLMBenchError) -> JSONResponse:
    """An error of the library as a problem."""
    return problem(status_of(error), str(error), error.code, names=error.names)


def tell_problems(app: FastAPI) -> None:
    """Have the application answer every error with a problem document."""

    async def of_library(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, LLMBenchError)  # noqa: S101  # what it is registered for
        return told(error)

    async def of_http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        answer = problem(error.status_code, str(error.detail), _HTTP_CODES.get(error.status_code, "http"))
        answer.headers.update(error.headers or {})
        return answer

    async def of_request(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        faults = [_fault(item) for item in error.errors()]
        detail = "; ".join(f"{fault.where}: {fault.message}" for fault in faults)
        return problem(_WRONG_USE, detail, "usage", faults=faults)

    async def of_studio(_request: Request, error: Exception) -> JSONResponse:
        told = f"the studio failed at this ({type(error).__name__}): a fault of its own; its terminal shows where"
        return problem(500, told, "studio")

    app.add_exception_handler(Exception, of_studio)
    app.add_exception_handler(LLMBenchError, of_library)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_request)


def _fault(item: Mapping[str, Any]) -> Fault:
    message = str(item["msg"])
    return Fault(where=".".join(map(str, item["loc"])), message=message[:1].lower() + message[1:])


_MEANINGS: Mapping[int, str] = {
    400: "The request is no HTTP or JSON that can be read",
    401: "The token is missing or wrong",
    403: "The request comes from a page of another site",
    404: "There is no such thing",
    409: "The machine lacks something: a package, a model, memory, disk, or the job is in another state",
    413: "The body is larger than what is allowed",
    415: "The body has another media type than what is read here",
    421: "The Host header names another machine",
    422: "Wrong use, with what to do",
}

EVERYWHERE = (400, 401, 403, 413, 421, 422)
"""What any request may be answered with."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's `responses` say of its problems, those of every route among them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {
        status: {"description": _MEANINGS[status], "content": content} for status in sorted({*EVERYWHERE, *statuses})
    }
