"""Saved context runs: numbered folders among those of other runs, each with a `context.json`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pytest_llmbench.core.allowed import fault_text
from pytest_llmbench.core.documents import parse_json, read_text, read_yaml
from pytest_llmbench.core.errors import MissingRunError, UsageError, located
from pytest_llmbench.core.files import write_text
from pytest_llmbench.core.provenance import commit_of, committed_file
from pytest_llmbench.runs.context_document import ContextDocument
from pytest_llmbench.runs.folders import CONTEXT_FILE, RunFolder, safe_name, save_files, saved_runs
from pytest_llmbench.runs.history import LATEST, named_by_hash, newest_of

_SHOWN = 10
_log = logging.getLogger("pytest_llmbench")


@dataclass(frozen=True, slots=True)
class SavedContext:
    """A context run that was read and checked. `path` is its file, None where it came out of git."""

    name: str
    path: Path | None
    document: ContextDocument


def save_context(document: ContextDocument, report_dir: Path, name: str) -> Path:
    """Save a document as the next numbered run, and say in which folder.

    Raises:
        NotReadyError: as `save_files`.
    """
    return save_files(lambda folder: write_text(folder / CONTEXT_FILE, document.as_json()), report_dir, name)


def context_run(reference: str, report_dir: Path) -> SavedContext | None:
    """The context run that a person means, in the ways in which `find_run` finds others; None where none fits.

    Raises:
        MissingRunError: `REF:PATH` names what was not committed.
        UsageError: the file is there and is no such document, or a short hash means several commits.
    """
    runs = saved_runs(report_dir, CONTEXT_FILE)
    if run := _saved_as(reference, runs):
        return _read(run)
    if os.path.exists(reference):  # noqa: PTH110  # Path.exists raises where the text cannot be a path
        return _at(Path(reference))
    if runs and (commit := commit_of(reference)):
        found = newest_of(commit, _made_from(runs))
        return _read(found) if found else None
    place, colon, file = reference.partition(":")
    if not (place and colon and file):
        return None
    text = committed_file(place, file)
    return SavedContext(reference, None, _checked(text, reference)) if _is_context(text, reference) else None


def found_context(reference: str, report_dir: Path) -> SavedContext:
    """The same, where there has to be one.

    Raises:
        MissingRunError: nothing fits.
        UsageError: the file is there and is no such document.
    """
    if found := context_run(reference, report_dir):
        return found
    titles = [run.title for run in reversed(saved_runs(report_dir, CONTEXT_FILE))]
    listed = ", ".join(titles[:_SHOWN]) or "none yet"
    raise MissingRunError(
        f"no context run {reference!r}: it is neither one of the context runs in {report_dir / 'runs'} ({listed}), nor "
        "a file, nor a git reference that one was made from; `pytest -m context` saves one"
    )


def read_context(path: Path) -> ContextDocument:
    """Read `context.json`.

    Raises:
        UsageError: the file is absent, cut off, or not such a document; the message names the line.
    """
    return _checked(read_text(path), path)


def _checked(text: str, origin: Path | str) -> ContextDocument:
    """The document that a text holds. `origin` is the file it is from, or what it was committed as."""
    document = parse_json(text, origin, 1)
    try:
        return ContextDocument.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        in_file = isinstance(document, dict) and isinstance(origin, Path)
        line = read_yaml(origin).line(*first["loc"]) if in_file else None
        told = fault_text(ContextDocument, first)
        message = f"{told}; this is no context.json of this version: run the context test again"
        raise UsageError(located(origin, line, message)) from error


def _read(run: RunFolder) -> SavedContext:
    return SavedContext(run.title, run.path, read_context(run.path))


def _at(path: Path) -> SavedContext | None:
    file = path / CONTEXT_FILE if path.is_dir() else path
    known = file.is_file() and (
        file.name == CONTEXT_FILE or (file.suffix == ".json" and _is_context(read_text(file), file))
    )
    return SavedContext(file.as_posix(), file, read_context(file)) if known else None


def _made_from(runs: Sequence[RunFolder]) -> Iterator[tuple[RunFolder, Mapping[str, Any]]]:
    """The runs that can be read, the newest first, with what git said when they were made."""
    for run in reversed(runs):
        try:
            made = read_context(run.path).metadata
        except UsageError as error:
            _log.warning("left out: %s", error)
        else:
            yield run, made.provenance.get("git") or {}


def _saved_as(reference: str, runs: Sequence[RunFolder]) -> RunFolder | None:
    if reference == LATEST:
        return runs[-1] if runs else None
    name = "" if not reference or "/" in reference else safe_name(reference)
    number = int(reference) if reference.isdecimal() else None
    fitting = (run for run in reversed(runs) if run.number == number or run.title == reference)
    if found := next(fitting, None):
        return found
    by_commit = newest_of(reference, _made_from(runs)) if named_by_hash(reference) else None
    return by_commit or next((run for run in reversed(runs) if run.name == name), None)


def _is_context(text: str, origin: Path | str) -> bool:
    """Whether a JSON document says that it is one."""
    document = parse_json(text, origin, 1)
    return isinstance(document, dict) and document.get("kind") == "context"
