"""`llmbench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FILES = ("run.json", "benchmark.json")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.json or benchmark.json, or the folder it is in.")],
    *,
    lang: Annotated[str | None, typer.Option(metavar="en|fr", help="Language; the run's own by default.")] = None,
) -> None:
    """Print the text analysis of a run."""
    from pytest_llmbench.reports import analysis, read_document

    document = read_document(next((run / name for name in _FILES if (run / name).is_file()), run))
    output = document["metadata"].get("settings", {}).get("output", {})
    typer.echo(analysis(document, lang or output.get("language", "en")), nl=False)
