"""`llmbench init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="The project to start in.")] = Path(),
    *,
    with_demo: Annotated[bool, typer.Option("--with-demo", help="Copy the demo adapter too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
) -> None:
    """Copy suites, settings and tests into a project.

    They are yours to edit; what is there already is never overwritten without --force.
    """
    from pytest_llmbench.starter import DEMO, PROJECT, copy_files, refuse_existing, starter_files

    files = starter_files((*PROJECT, *DEMO) if with_demo else PROJECT, folder)
    if not force:
        refuse_existing(files)
    copy_files(files)
    typer.echo("\n".join(f"wrote {copy}" for copy in files))
    typer.echo("\nnext:")
    if folder.resolve() != Path.cwd():
        typer.echo(f"  cd {folder}")
    typer.echo(
        "  llmbench check         is everything there?\n  pytest -m benchmark    compare the base with its adapter"
    )
