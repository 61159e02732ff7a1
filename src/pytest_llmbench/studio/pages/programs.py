"""The JSON API for people who write programs: its OpenAPI document as one page, with nothing from elsewhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.openapi.models import MediaType, OpenAPI, Operation, Parameter, PathItem, Reference, RequestBody, Schema
from fastapi.responses import HTMLResponse

from pytest_llmbench.studio.pages.rendering import PageRoute, page

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_Shape = Schema | Reference | bool
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A value that a request holds, or an answer."""

    name: str
    kind: str
    meaning: str
    required: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One method of one path."""

    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    example: str
    answers: tuple[Field, ...]

    @property
    def anchor(self) -> str:
        """Its name in the page's address."""
        return f"{self.method}-{self.path.strip('/')}".replace("/", "-").replace("{", "").replace("}", "")


@router.get("/programs")
async def programs(request: Request) -> HTMLResponse:
    """The page."""
    document = OpenAPI.model_validate(request.app.openapi())
    return page(request, "programs", groups=_grouped(document), version=document.info.version)


def _grouped(document: OpenAPI) -> dict[str, list[Call]]:
    """The calls by the tag of each, in the order of the document."""
    groups: dict[str, list[Call]] = {}
    for path, written in (document.paths or {}).items():
        item = PathItem.model_validate(written)
        for method in _METHODS:
            if operation := getattr(item, method):
                groups.setdefault((operation.tags or [""])[0], []).append(_call(document, method, path, operation))
    return groups


def _call(document: OpenAPI, method: str, path: str, operation: Operation) -> Call:
    body = operation.requestBody if isinstance(operation.requestBody, RequestBody) else None
    media = next(iter(body.content.values()), None) if body else None
    return Call(
        method=method,
        path=path,
        summary=operation.summary or "",
        description=operation.description or "",
        parameters=tuple(_parameter(document, one) for one in operation.parameters or []),
        body=tuple(_fields(document, media)) if media else (),
        example=_example(document, media) if media else "",
        answers=tuple(
            Field(str(status), ", ".join(getattr(answer, "content", None) or {}), answer.description)
            for status, answer in (operation.responses or {}).items()
            if not isinstance(answer, Reference)
        ),
    )


def _parameter(document: OpenAPI, parameter: Parameter | Reference) -> Field:
    if isinstance(parameter, Reference):
        return Field(parameter.ref.rpartition("/")[2], "", "")
    kind = _kind(document, parameter.schema_) if parameter.schema_ else ""
    return Field(
        parameter.name, f"{parameter.in_.value}, {kind}", parameter.description or "", bool(parameter.required)
    )


def _fields(document: OpenAPI, media: MediaType) -> Iterator[Field]:
    schema = _resolved(document, media.schema_)
    for name, one in ((schema and schema.properties) or {}).items():
        known = _resolved(document, one)
        meaning = (getattr(one, "description", None) or (known.description if known else None)) or ""
        yield Field(name, _kind(document, one), meaning, bool(schema and name in (schema.required or [])))


def _resolved(document: OpenAPI, schema: _Shape | None) -> Schema | None:
    """The schema itself, where there is only its name."""
    if isinstance(schema, Schema) and schema.ref is None:
        return schema
    name = schema.ref if isinstance(schema, (Schema, Reference)) else None
    found = ((document.components and document.components.schemas) or {}).get((name or "").rpartition("/")[2])
    return found if isinstance(found, Schema) else None


def _kind(document: OpenAPI, schema: _Shape) -> str:
    found = _resolved(document, schema)
    if found is None:
        return ""
    if found.enum:
        return " | ".join(json.dumps(one) for one in found.enum)
    if found.anyOf:
        return " | ".join(dict.fromkeys(filter(None, (_kind(document, one) for one in found.anyOf))))
    return str(found.format or found.type or found.title or "")


def _example(document: OpenAPI, media: MediaType) -> str:
    schema = _resolved(document, media.schema_)
    found = media.example or (schema and schema.examples and schema.examples[0])
    return json.dumps(found, ensure_ascii=False, indent=2) if found else ""
