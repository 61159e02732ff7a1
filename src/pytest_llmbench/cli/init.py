"""`llmbench init`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pytest_llmbench.cli.project_files import Added, StarterLanguage


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="The project to start in.")] = Path(),
    *,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Of suites, data and reports: en or fr; of another, a skeleton to fill in."),
    ] = None,
    with_demo: Annotated[bool, typer.Option("--with-demo", help="Copy the French demo adapter too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there and differ.")] = False,
) -> None:
    """Give a project the starter files that it lacks.

    Suites, settings, data and tests, to edit; none that is there is overwritten without --force. Without --language a
    project keeps its own, and a new one gets the French demo.
    """
    from pytest_llmbench.cli.project_files import add_files, has_own_suites, project_files, project_language

    chosen = project_language(folder, language, force=force)
    files = project_files(chosen, with_demo=with_demo)
    own_suites = not force and has_own_suites(folder, files)
    _tell(add_files(files, folder, force=force), files)
    if own_suites:
        typer.echo(f"added no example suite to {folder / 'prompts'}: it has suites of its own")
    typer.echo("\nnext:")
    steps = list(_steps(folder, chosen))
    width = max(len(command) for command, _ in steps) + 4
    for command, purpose in steps:
        typer.echo(f"  {command:<{width}}{purpose}".rstrip())


def _tell(added: Added, files: Mapping[Path, bytes]) -> None:
    for path in added.written:
        typer.echo(f"wrote {path}")
    for path in added.left:
        typer.echo(f"left {path} as it is: it is yours; --force replaces it")
    if not added.written and not added.left:
        typer.echo(f"nothing to add: the {len(added.same)} starter files are here")
    elif added.same:
        typer.echo(f"{len(added.same)} of {len(files)} files were here already, unchanged")


def _steps(folder: Path, language: StarterLanguage | None) -> Iterator[tuple[str, str]]:
    if folder.resolve() != Path.cwd():
        yield f"cd {folder}", ""
    if language and language.is_skeleton:
        yield "prompts/my_cases.yaml and tools.yaml", f"write what your users ask, in '{language.code}'"
    yield "llmbench check", "is everything there?"
    if language and language.is_skeleton:
        yield "llmbench finetune ROWS --output adapters/mine", "learn rows of yours"
    elif language and language.folder:
        yield "llmbench finetune data/example.csv --output adapters/mine --steps 10", "learn the rows of the example"
    yield "pytest -m benchmark", "compare the base with its adapter"
