"""`llmbench compare-training`."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from pytest_llmbench.cli.options import Json
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import write_text


def compare_training(  # noqa: PLR0913  # one argument an option
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
    as_format: Annotated[
        Literal["text", "markdown", "html"] | None, typer.Option("--format", help="Print, or write, a report instead.")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Of --format: write to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Compare trainings side by side.

    Duration, loss, accuracy and speed in one table, their curves, and answers to the same questions.
    """
    from pytest_llmbench.finetune.comparison import answers, comparison_notes, figures_table, read_trainings
    from pytest_llmbench.reports.blocks import Depth
    from pytest_llmbench.reports.charts.training_comparison import draw_comparison
    from pytest_llmbench.reports.renderers.registry import default_renderers
    from pytest_llmbench.reports.renderers.terminal import terminal_lines
    from pytest_llmbench.reports.views.training import training_report

    if output is not None and as_format is None:
        raise UsageError("--output is the file of --format; give --format text, markdown or html too")
    trainings = read_trainings(adapters)
    if png is not None:
        draw_comparison(trainings, png, language)
        typer.echo(png, err=True)
    questions = tuple(ask or ())
    told = answers(trainings, questions, base=base, system=system, device=device) if questions else []
    if as_json:
        document = {
            "adapters": [training.name for training in trainings],
            "table": [dataclasses.asdict(line) for line in figures_table(trainings, language, numbers="en")],
            "notes": comparison_notes(trainings, language),
            "answers": [
                {"question": question, "answers": [given[number] for given in told]}
                for number, question in enumerate(questions)
            ],
        }
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    if as_format is None:
        report = training_report(trainings, language, questions=questions, answers=told)
        typer.echo("\n".join(terminal_lines(report, report_width(), Depth.FULL)))
        return
    draw = functools.partial(draw_comparison, trainings, language=language)
    report = training_report(
        trainings, language, questions=questions, answers=told, draw=draw, figure=png.name if png else None
    )
    text = default_renderers()[as_format].render(report)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    typer.echo(output)
