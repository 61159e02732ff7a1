"""Run documents on disk: written whole or not at all, checked when read."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from pytest_llmbench import atomic
from pytest_llmbench.documents import parse_json, read_text, read_yaml
from pytest_llmbench.errors import UsageError, located
from pytest_llmbench.records import SCHEMA_VERSION

_MESSAGE_CHARS = 160


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write the document as strict JSON (no NaN), replacing `path` in one step.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; what was at `path` stays whole.
    """
    atomic.write_text(path, as_json(document))


def as_json(document: Mapping[str, Any]) -> str:
    """The document as strict JSON, indented for people and for diffs."""
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def read_document(path: Path) -> dict[str, Any]:
    """Read a run file and check it against the schema.

    Raises:
        UsageError: the file is absent, cut off, not a run of this tool, of a newer version, or was edited into
            something else; the message names the line or the key path.
    """
    document = _parse(path)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise UsageError(f"{path}: not a run file: it has no schema_version; give a run.json or benchmark.json")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path}: written by a newer pytest-llmbench (schema {version}, this one reads up to {SCHEMA_VERSION}); "
            "upgrade pytest-llmbench"
        )
    _validate(document, path)
    return cast("dict[str, Any]", document)


@functools.cache
def run_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every run file obeys."""
    text = importlib.resources.files("pytest_llmbench").joinpath("schemas/run.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


def _parse(path: Path) -> Any:
    text = read_text(path)
    try:
        return parse_json(text, path, 1)
    except UsageError as error:
        raise UsageError(f"{error}; the run file was cut off or edited: take another copy or run again") from error


def _validate(document: Any, path: Path) -> None:
    import jsonschema

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(run_schema()).iter_errors(document))
    if error is None:
        return
    keys, message = tuple(error.absolute_path), error.message
    if len(message) > _MESSAGE_CHARS:  # the value comes first and may be a whole run; the fault comes last
        message = f"…{message[-_MESSAGE_CHARS:]}"
    line = read_yaml(path).line(*keys) if path.suffix.lower() == ".json" else None
    message = f"{_key_path(keys) or 'the document'}: {message}; the run file was edited: take another copy or run again"
    raise UsageError(located(path, line, message))


def _key_path(keys: Iterable[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
