"""`llmbench compare-training`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.settings_options import Json

if TYPE_CHECKING:
    from pytest_llmbench.finetune.comparison import Line, Trained


def compare_training(
    adapters: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of trained adapters.")],
    *,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw curves and table.")] = None,
    ask: Annotated[
        list[str] | None, typer.Option(metavar="QUESTION", help="Let every adapter answer it; repeatable.")
    ] = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="System prompt of --ask, as in the training.")] = "",
    base: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Of --ask, where the folder trained on is elsewhere now."),
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where --ask runs.")] = "auto",
    language: Annotated[Literal["en", "fr"], typer.Option(help="Language of table and picture.")] = "en",
    as_json: Json = False,
) -> None:
    """Compare trainings side by side.

    Duration, loss, accuracy and speed in one table, their curves, and answers to the same questions.
    """
    from pytest_llmbench.finetune.comparison import answers, notes, read_trainings, table
    from pytest_llmbench.reports.charts.training_comparison import draw_comparison

    trainings = read_trainings(adapters)
    lines, warnings = table(trainings, language), notes(trainings, language)
    if png is not None:
        draw_comparison(trainings, png, language)
        typer.echo(png, err=True)
    told = answers(trainings, ask, base=base, system=system, device=device) if ask else []
    if as_json:
        document = {
            "adapters": [training.name for training in trainings],
            "table": [dataclasses.asdict(line) for line in lines],
            "notes": warnings,
            "answers": [
                {"question": question, "answers": [given[number] for given in told]}
                for number, question in enumerate(ask or ())
            ],
        }
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    typer.echo(_table(trainings, lines, language))
    for warning in warnings:
        typer.echo(f"\n{warning}")
    for number, question in enumerate(ask or ()):
        typer.echo(f"\n### {question}")
        for training, given in zip(trainings, told, strict=True):
            typer.echo(f"\n**{training.name}**\n\n{given[number]}")


def _table(trainings: list[Trained], lines: list[Line], language: Literal["en", "fr"]) -> str:
    """A Markdown table that also reads well in a terminal."""
    heading = {"en": ("metric", "best"), "fr": ("métrique", "meilleur")}[language]
    rows = [(heading[0], *(training.name for training in trainings), heading[1])]
    rows += [(line.title, *line.values, line.best) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = [_row(row, widths) for row in rows]
    shown.insert(1, _row(tuple("-" * width for width in widths), widths))
    return "\n".join(shown)


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
