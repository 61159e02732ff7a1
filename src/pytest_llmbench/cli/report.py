"""`llmbench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.errors import UsageError

_FILES = ("run.json", "benchmark.json")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.json or benchmark.json, or the folder it is in.")],
    *,
    lang: Annotated[str | None, typer.Option(metavar="en|fr", help="Language; the run's own by default.")] = None,
) -> None:
    """Print the text analysis of a run."""
    from pytest_llmbench.reports import analysis, read_document

    document = read_document(_file(run) if run.is_dir() else run)
    output = document["metadata"].get("settings", {}).get("output", {})
    typer.echo(analysis(document, lang or output.get("language", "en")), nl=False)


def _file(folder: Path) -> Path:
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"{folder}: neither {' nor '.join(_FILES)} is in it; give a run's file, or the folder it is in")
