"""`llmbench compare-training`."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pytest_llmbench.cli.options import Config, Json, Language, SettingOption, chosen_settings, settings_file
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import write_text

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import ModelSettings
    from pytest_llmbench.finetune.comparison import Trained


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What every adapter answers."""

    ask: Annotated[
        list[str] | None, typer.Option(metavar="QUESTION", help="Let every adapter answer it; repeatable.")
    ] = None
    system: Annotated[str, typer.Option(metavar="TEXT", help="System prompt of --ask, as in the training.")] = ""
    base: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Of --ask, where the folder trained on is elsewhere now."),
    ] = None
    device: Annotated[str | None, SettingOption("model.device", more=", of --ask")] = None

    def answers(self, trainings: Sequence[Trained], model: ModelSettings) -> list[list[str]]:
        """Each training's answers to the questions, its base loaded as `model` says; none where nothing is asked."""
        from pytest_llmbench.finetune.comparison import answers

        if not self.ask:
            return []
        return answers(trainings, tuple(self.ask), base=self.base, system=self.system, model=model)


@dataclasses.dataclass(frozen=True, slots=True)
class _Shown:
    """In which language and format, and where."""

    language: Language = None
    as_format: Annotated[
        Literal["text", "markdown", "html"] | None, typer.Option("--format", help="Print, or write, a report instead.")
    ] = None
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Of --format: write to this file.")] = None


def compare_training(
    adapters: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of trained adapters.")],
    *,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw curves and table.")] = None,
    asked: _Asked,
    shown: _Shown,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare trainings side by side.

    Duration, loss, accuracy and speed in one table, their curves, and answers to the same questions.
    """
    from pytest_llmbench.datasets.splitting import refuse_same_files
    from pytest_llmbench.finetune.comparison import read_trainings
    from pytest_llmbench.models.adapters import TRAINING_RECORD
    from pytest_llmbench.reports.charts.training_comparison import draw_comparison
    from pytest_llmbench.runs.history import refuse_output

    if shown.output is not None and shown.as_format is None:
        raise UsageError("--output is the file of --format; give --format text, markdown or html too")
    if as_json and shown.as_format is not None:
        raise UsageError("--json prints a document of its own; leave out --format and --output, or --json")
    settings = chosen_settings(config, asked, shown)
    language = settings.output.language
    trainings = read_trainings(adapters)
    read = (*(folder / TRAINING_RECORD for folder in adapters), settings_file(config))
    for name, file in (("png", png), ("output", shown.output)):
        if file is not None:
            refuse_output(file, read, name)
    if png is not None and shown.output is not None:
        refuse_same_files([("--png", png)], [("--output", shown.output)])
    if png is not None:
        draw_comparison(trainings, png, language)
        typer.echo(png, err=True)
    told = asked.answers(trainings, settings.model)
    if as_json:
        document = _document(trainings, asked.ask or (), told, language)
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    text = _text(trainings, asked.ask or (), told, language, shown, _beside(png, shown.output) if png else None)
    if shown.output is None:
        typer.echo(text, nl=False)
        return
    write_text(shown.output, text)
    typer.echo(shown.output)


def _beside(png: Path, report: Path | None) -> str:
    """The picture's path as the report names it: from its own folder, or from here where it is printed."""
    return Path(os.path.relpath(png, report.parent)).as_posix() if report else png.as_posix()


def _document(
    trainings: Sequence[Trained], questions: Sequence[str], told: Sequence[Sequence[str]], language: Literal["en", "fr"]
) -> dict[str, Any]:
    from pytest_llmbench.finetune.comparison import comparison_notes, figures_table

    return {
        "adapters": [training.name for training in trainings],
        "table": [dataclasses.asdict(line) for line in figures_table(trainings, language, numbers="en")],
        "notes": comparison_notes(trainings, language),
        "answers": [
            {"question": question, "answers": [given[number] for given in told]}
            for number, question in enumerate(questions)
        ],
    }


def _text(
    trainings: Sequence[Trained],
    questions: Sequence[str],
    told: Sequence[Sequence[str]],
    language: Literal["en", "fr"],
    shown: _Shown,
    figure: str | None,
) -> str:
    """The report in the format that is asked for, else as the terminal shows it."""
    from pytest_llmbench.reports.blocks import Depth
    from pytest_llmbench.reports.charts.training_comparison import draw_comparison
    from pytest_llmbench.reports.renderers.registry import default_renderers
    from pytest_llmbench.reports.renderers.terminal import terminal_lines
    from pytest_llmbench.reports.views.training import training_report

    if shown.as_format is None:
        report = training_report(trainings, language, questions=questions, answers=told)
        return "\n".join(terminal_lines(report, report_width(), Depth.FULL)) + "\n"
    draw = functools.partial(draw_comparison, trainings, language=language)
    report = training_report(trainings, language, questions=questions, answers=told, draw=draw, figure=figure)
    return default_renderers()[shown.as_format].render(report)
