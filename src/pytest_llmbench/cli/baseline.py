"""`llmbench baseline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.cli.run_options import ReportDir, Run, reports_folder


def baseline(
    run: Run,
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to commit.")] = Path("baselines/accepted.json"),
    report_dir: ReportDir = None,
) -> None:
    """Write a run's baseline, small enough to commit.

    It holds what later runs are compared with: scores and provenance, no prompts and no answers.
    """
    from pytest_llmbench.history import find_run
    from pytest_llmbench.reports.baseline import write_baseline

    accepted = find_run(run, reports_folder(report_dir))
    write_baseline(accepted.document, output, accepted.name)
    results = len(accepted.document["results"])
    typer.echo(f"{output}: {results} results of {accepted.name}, {output.stat().st_size / 1000:.1f} kB; commit it")
