"""Run documents and baselines on disk: written whole or not at all, checked when read."""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from pytest_llmbench.core import files
from pytest_llmbench.core.documents import parse_json, read_text, read_yaml
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.records import SCHEMA_VERSION
from pytest_llmbench.runs.result_parts import RESULTS, ResultParts

BASELINE = "baseline"
"""The `kind` of a baseline document; a run document has none."""

_ELSEWHERE = "results_in"
"""Where the results of a large run are, which its file does not hold."""
_MESSAGE_CHARS = 160
_EDITED = "the file was cut off or edited: take another copy or run again"
_RESULTS = re.compile(r'^  "results": \[', re.MULTILINE)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NOT_A_NUMBER = re.compile(r"NaN|-?Infinity")


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write the document as strict JSON (no NaN), replacing `path` in one step.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; what was at `path` stays whole.
    """
    files.write_text(path, as_json(document))


def as_json(document: Mapping[str, Any]) -> str:
    """The document as strict JSON, indented for people and for diffs. Of a large run it tells where its results are."""
    if isinstance(parts := document.get("results"), ResultParts):
        document = {**document, _ELSEWHERE: {"folder": RESULTS, "count": len(parts)}, "results": []}
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def read_document(path: Path) -> dict[str, Any]:
    """Read a run file and check it against the schema.

    Raises:
        UsageError: the file is absent, cut off, not a run of this tool, of a newer version, or was edited into
            something else; the message names the line or the key path.
    """
    document = read_saved(path)
    _refuse_baseline(document, path)
    return document


def read_saved(path: Path) -> dict[str, Any]:
    """Read a run file or a baseline file and check it against its schema. Raises UsageError as `read_document` does."""
    return checked(read_text(path), path)


def checked(text: str, origin: Path | str) -> dict[str, Any]:
    """The run or baseline document that a text holds. `origin` is the file it is from, or a name for it.

    Raises:
        UsageError: it is cut off, not a run of this tool, of a newer version, or was edited into something else.
    """
    document = _parse(text, origin)
    _check_version(document, origin)
    _validate(document, origin)
    if where := document.pop(_ELSEWHERE, None):
        document["results"] = _parts(where, origin)
    else:
        _refuse_duplicates(document, origin)
    return cast("dict[str, Any]", document)


def _parts(where: Mapping[str, Any], origin: Path | str) -> ResultParts:
    """The results of a large run, which lie beside its file."""
    folder = origin.parent / str(where["folder"]) if isinstance(origin, Path) else None
    parts = ResultParts(folder) if folder else ()
    if not isinstance(parts, ResultParts) or len(parts) != where["count"]:
        raise UsageError(
            f"{origin}: the {where['count']} results of this run lie in a folder beside the run's own file, and "
            f"{len(parts)} are found here; give the run's folder, with all that is in it"
        )
    return parts


def read_head(path: Path) -> dict[str, Any]:
    """A run file with `results` left empty and unread: what a list of many runs can afford.

    Raises:
        UsageError: as `read_document`, for what can be seen without the results.
    """
    text = read_text(path)
    results = _RESULTS.search(text)
    if results and text.endswith("]\n}\n"):
        text = f"{text[: results.end()]}]}}"
    document = _parse(text, path)
    _check_version(document, path)
    _refuse_baseline(document, path)
    document = {**document, "results": []}
    _validate(document, path)
    document.pop(_ELSEWHERE, None)
    return document


def is_baseline(document: Mapping[str, Any]) -> bool:
    """Whether a checked document is a baseline; otherwise it is a run."""
    return document.get("kind") == BASELINE


def _refuse_baseline(document: Mapping[str, Any], path: Path) -> None:
    if is_baseline(document):
        raise UsageError(f"{path}: this is a baseline, which holds no answers; give the run that it was made from")


@functools.cache
def run_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every run file obeys."""
    return _schema("run")


@functools.cache
def baseline_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every baseline file obeys."""
    return _schema(BASELINE)


def _schema(kind: str) -> dict[str, Any]:
    file = importlib.resources.files("pytest_llmbench").joinpath(f"schemas/{kind}.schema.json")
    return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))


def _parse(text: str, origin: Path | str) -> Any:
    try:
        return parse_json(text, origin, 1)
    except UsageError as error:
        numbers_only = _STRING.sub('""', text)
        if found := _NOT_A_NUMBER.search(numbers_only):
            line = numbers_only.count("\n", 0, found.start()) + 1
            message = f"{found[0]} is not a number; write null for what is unscored; {_EDITED}"
            raise UsageError(located(origin, line, message)) from error
        raise UsageError(f"{error}; {_EDITED}") from error


def _check_version(document: Any, origin: Path | str) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise UsageError(f"{origin}: not a run file: it has no schema_version; give a run.json or benchmark.json")
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{origin}: written by a newer pytest-llmbench (schema {version}, this one reads up to {SCHEMA_VERSION}); "
            "upgrade pytest-llmbench"
        )


def _validate(document: Mapping[str, Any], origin: Path | str) -> None:
    import jsonschema

    schema = baseline_schema() if is_baseline(document) else run_schema()
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(document))
    if error is None:
        return
    message = error.message
    if len(message) > _MESSAGE_CHARS:  # the value comes first and may be a whole run; the fault comes last
        message = f"…{message[-_MESSAGE_CHARS:]}"
    raise _edited(tuple(error.absolute_path), message, origin)


def _refuse_duplicates(document: Mapping[str, Any], origin: Path | str) -> None:
    places: dict[tuple[str, int], int] = {}
    for index, row in enumerate(document["results"]):
        first = places.setdefault((row["case"], row["epoch"]), index)
        if first != index:
            message = f"the case {row['case']}, epoch {row['epoch']}, is there twice, first as results[{first}]"
            raise _edited(("results", index), message, origin)


def _edited(keys: tuple[str | int, ...], message: str, origin: Path | str) -> UsageError:
    """A fault that no run of this tool has; its line is known where it is in a file."""
    in_file = isinstance(origin, Path) and origin.suffix.lower() == ".json"
    line = read_yaml(origin).line(*keys) if in_file else None
    return UsageError(located(origin, line, f"{_key_path(keys) or 'the document'}: {message}; {_EDITED}"))


def _key_path(keys: Iterable[str | int]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
