"""Saved context runs: numbered folders among those of other runs, each with a `context.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pytest_llmbench.core.documents import parse_json, read_text, read_yaml
from pytest_llmbench.core.errors import MissingRunError, UsageError, located
from pytest_llmbench.core.files import write_text
from pytest_llmbench.runs.context_document import ContextDocument
from pytest_llmbench.runs.folders import RunFolder, safe_name, save_files, saved_runs

CONTEXT_FILE = "context.json"
LATEST = "latest"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SavedContext:
    """A context run that was read and checked."""

    name: str
    path: Path
    document: ContextDocument


def save_context(document: ContextDocument, report_dir: Path, name: str) -> Path:
    """Save a document as the next numbered run, and say in which folder.

    Raises:
        NotReadyError: as `save_files`.
    """
    return save_files(lambda folder: write_text(folder / CONTEXT_FILE, document.as_json()), report_dir, name)


def context_run(reference: str, report_dir: Path) -> SavedContext | None:
    """The context run that a person means, by `latest`, number, folder, name or path; None where none fits.

    Raises:
        UsageError: the file is there and is no such document.
    """
    runs = saved_runs(report_dir, CONTEXT_FILE)
    if run := _saved_as(reference, runs):
        return SavedContext(run.title, run.path, read_context(run.path))
    path = Path(reference)
    file = path / CONTEXT_FILE if path.is_dir() else path
    if not file.is_file() or (file.name != CONTEXT_FILE and not _is_context(file)):
        return None
    return SavedContext(file.as_posix(), file, read_context(file))


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
        f"no context run {reference!r}: it is neither a file nor one of the context runs in {report_dir / 'runs'} "
        f"({listed}); `pytest -m context` saves one"
    )


def read_context(path: Path) -> ContextDocument:
    """Read `context.json`.

    Raises:
        UsageError: the file is absent, cut off, or not such a document; the message names the line.
    """
    document = parse_json(read_text(path), path, 1)
    try:
        return ContextDocument.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        line = read_yaml(path).line(*first["loc"]) if isinstance(document, dict) else None
        where = ".".join(map(str, first["loc"])) or "the document"
        message = f"{where}: {first['msg'][:160]}; this is no context.json of this version: run the context test again"
        raise UsageError(located(path, line, message)) from error


def _saved_as(reference: str, runs: Sequence[RunFolder]) -> RunFolder | None:
    if reference == LATEST:
        return runs[-1] if runs else None
    name = "" if not reference or "/" in reference else safe_name(reference)
    number = int(reference) if reference.isdecimal() else None
    fitting = (run for run in reversed(runs) if run.number == number or run.title == reference or run.name == name)
    return next(fitting, None)


def _is_context(path: Path) -> bool:
    """Whether a JSON file says that it is one."""
    if path.suffix != ".json":
        return False
    document = parse_json(read_text(path), path, 1)
    return isinstance(document, dict) and document.get("kind") == "context"
