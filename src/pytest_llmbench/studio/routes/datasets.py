"""Datasets: uploaded as a stream, looked at, deleted, and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from pytest_llmbench.studio.datasets import DatasetCard, DatasetDetail, DatasetList
from pytest_llmbench.studio.problems import problems
from pytest_llmbench.studio.services import Studio
from pytest_llmbench.studio.uploads import RAW_TYPES

router = APIRouter(prefix="/api/datasets", tags=["datasets"])

DatasetId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=["6f1c0f6ad1f84cbd8f6df0bb35cbb1f1"])]

_ROWS = (
    '{"prompt": "monte le son", "completion": "volume_up"}\n{"prompt": "baisse le son", "completion": "volume_down"}\n'
)
_RAW = {"schema": {"type": "string", "format": "binary"}, "example": _ROWS}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary", "description": "rows: .jsonl, .csv or .json"}},
        "required": ["file"],
    }
}
_TEXT = {"type": "string", "pattern": r"[a-zà-ÿ0-9]"}
_MESSAGE = {
    "type": "object",
    "properties": {"role": {"enum": ["user", "assistant"]}, "content": _TEXT},
    "required": ["role", "content"],
}


def _row(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_JSON = {
    "schema": {
        "description": "every row in the same form; docs/datasets.md has all forms",
        "anyOf": [
            {"type": "array", "minItems": 2, "items": row}
            for row in (
                _row(prompt=_TEXT, completion=_TEXT),
                _row(instruction=_TEXT, output=_TEXT),
                _row(messages={"type": "array", "items": _MESSAGE, "description": "the last one the assistant's"}),
            )
        ],
    },
    "example": [
        {"prompt": "monte le son", "completion": "volume_up"},
        {"prompt": "baisse le son", "completion": "volume_down"},
    ],
}
_BODY = {
    "required": True,
    "content": {"multipart/form-data": _FORM, **dict.fromkeys(RAW_TYPES, _RAW), "application/json": _JSON},
}


def _linked(*operations: str) -> dict[str, Mapping[str, Any]]:
    """Links from a dataset in an answer to what can be done with it."""
    return {name: {"operationId": name, "parameters": {"dataset_id": "$response.body#/id"}} for name in operations}


_AFTER_UPLOAD = {
    **_linked("dataset", "delete_dataset"),
    "estimate": {
        "operationId": "estimate",
        "parameters": {"query.dataset_id": "$response.body#/id", "query.model_name": "smollm2-135m"},
    },
    "start_finetuning": {
        "operationId": "start_finetuning",
        "requestBody": {"dataset_id": "$response.body#/id", "model_name": "smollm2-135m"},
    },
}


@router.post(
    "",
    operation_id="upload_dataset",
    status_code=201,
    openapi_extra={"requestBody": _BODY},
    responses={**problems(409, 415), 201: {"description": "It was read whole and is kept", "links": _AFTER_UPLOAD}},
)
async def upload_dataset(
    request: Request, studio: Studio, name: Annotated[str | None, Query(max_length=400)] = None
) -> DatasetCard:
    """Upload a dataset of any form that `llmbench dataset validate` reads.

    The body is a form with the file in `file`, or the file itself, called `name`. It is written to the disk as it
    comes, then read to its end by the library's own reader, which names the lines that are wrong.
    """
    length = request.headers.get("content-length")
    return await studio.datasets.upload(
        request.stream(), request.headers.get("content-type", ""), name=name, length=int(length) if length else None
    )


@router.get("", operation_id="datasets", responses=problems())
def datasets(
    studio: Studio,
    deleted: Annotated[bool, Query(description="those that were deleted and can be brought back")] = False,  # noqa: FBT002  # a query
) -> DatasetList:
    """All datasets, the newest first."""
    return DatasetList(datasets=tuple(studio.datasets.list(deleted=deleted)))


@router.get("/{dataset_id}", operation_id="dataset", responses=problems(404))
async def dataset(studio: Studio, dataset_id: DatasetId) -> DatasetDetail:
    """First rows, statistics, near-duplicates, and the rows that come near to a case of the suites.

    The last two are looked for in the background from the first look on: `checked.state` is `running` until then.
    """
    return studio.datasets.detail(dataset_id)


@router.delete(
    "/{dataset_id}",
    operation_id="delete_dataset",
    responses={**problems(404), 200: {"description": "It is hidden", "links": _linked("restore_dataset", "dataset")}},
)
def delete_dataset(studio: Studio, dataset_id: DatasetId) -> DatasetCard:
    """Delete a dataset. For a day it can be restored; then its file is gone."""
    return studio.datasets.delete(dataset_id)


@router.post(
    "/{dataset_id}/restore",
    operation_id="restore_dataset",
    responses={**problems(404), 200: {"description": "It is back", "links": _linked("dataset", "delete_dataset")}},
)
def restore_dataset(studio: Studio, dataset_id: DatasetId) -> DatasetCard:
    """Bring back a deleted dataset."""
    return studio.datasets.restore(dataset_id)
