"""`llmbench init`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pytest_llmbench.project_files import Added, StarterLanguage

_TRAIN = "llmbench finetune data/example.csv --output adapters/mine --steps 10"


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="The project to start in.")] = Path(),
    *,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Of suites, data and reports: en, fr; of another, a skeleton. The demo's: fr."),
    ] = None,
    with_demo: Annotated[bool, typer.Option("--with-demo", help="Copy the French demo adapter too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there and differ.")] = False,
) -> None:
    """Give a project the suites, settings, data and tests that it lacks.

    They are yours to edit; what is there already is never overwritten without --force.
    """
    from pytest_llmbench.project_files import add_files, has_own_suites, project_files, starter_language

    chosen = starter_language(language) if language is not None else None
    files = project_files(chosen, with_demo=with_demo)
    own_suites = not force and has_own_suites(folder, files)
    added = add_files(files, folder, force=force)
    _tell(added, files)
    if own_suites:
        typer.echo(f"added no example suite to {folder / 'prompts'}: it has suites of its own")
    _tell_next(folder, chosen)


def _tell(added: Added, files: Mapping[Path, bytes]) -> None:
    for path in added.written:
        typer.echo(f"wrote {path}")
    for path in added.left:
        typer.echo(f"left {path} as it is: it is not the starter's; --force replaces it")
    if not added.written and not added.left:
        typer.echo(f"nothing to add: the {len(added.same)} starter files are here")
    elif added.same:
        typer.echo(f"{len(added.same)} of {len(files)} files were here already, unchanged")


def _tell_next(folder: Path, language: StarterLanguage | None) -> None:
    steps = []
    if folder.resolve() != Path.cwd():
        steps.append((f"cd {folder}", ""))
    if language and language.is_skeleton:
        steps.append(("prompts/my_cases.yaml and tools.yaml", f"write what your users ask, in '{language.code}'"))
    steps.append(("llmbench check", "is everything there?"))
    if language and language.folder and not language.is_skeleton:
        steps.append((_TRAIN, "teach the example's rows"))
    steps.append(("pytest -m benchmark", "compare the base with its adapter"))
    width = max(len(command) for command, _ in steps if len(command) < len(_TRAIN)) + 4
    typer.echo("\nnext:")
    for command, purpose in steps:
        typer.echo(f"  {command:<{width}}{purpose}".rstrip() if len(command) < width else f"  {command}    {purpose}")
