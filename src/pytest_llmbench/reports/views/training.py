"""Two or more trainings side by side: their figures, what keeps these from being compared, and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.locale import UNSCORED, Words, words
from pytest_llmbench.reports.blocks import (
    Case,
    Cases,
    Cell,
    Chart,
    Column,
    Name,
    Quote,
    Report,
    Section,
    Sentences,
    Table,
)

if TYPE_CHECKING:
    from pytest_llmbench.finetune.comparison import Language, Trained, TrainingLine


def training_report(
    trainings: Sequence[Trained],
    language: Language,
    *,
    questions: Sequence[str] = (),
    answers: Sequence[Sequence[str]] = (),
    draw: Callable[[Path], object] | None = None,
    figure: str | None = None,
) -> Report:
    """The trainings of adapters; `answers` has each training's to each of `questions`.

    `draw` writes the curves, which stand beside the report as the file `figure`.
    """
    say = words(language)
    chart = [Chart(say("Comparison of trainings"), draw, figure)] if draw else []
    sections = [
        Section("figures", "", [_table(trainings, language, say)]),
        *_notes(trainings, language),
        *([Section("curves", "", chart)] if chart else []),
        *_answers(trainings, questions, answers, say),
    ]
    return Report(say("Comparison of trainings"), language, sections)


def _table(trainings: Sequence[Trained], language: Language, say: Words) -> Table:
    from pytest_llmbench.finetune.comparison import figures_table

    columns = [
        Column(say("Metric"), left=True),
        *(Column("", training.name) for training in trainings),
        Column(say.in_context("training", "Best")),
    ]
    lines = figures_table(trainings, language)
    rows: list[list[Cell]] = [[line.title, *line.values, _best(line)] for line in lines]
    return Table(columns, rows)


def _best(line: TrainingLine) -> Cell:
    return line.best if line.best == UNSCORED else Name(line.best)


def _notes(trainings: Sequence[Trained], language: Language) -> Iterator[Section]:
    from pytest_llmbench.finetune.comparison import comparison_notes

    if told := comparison_notes(trainings, language):
        yield Section("notes", "", [Sentences(told, listed=False)])


def _answers(
    trainings: Sequence[Trained], questions: Sequence[str], answers: Sequence[Sequence[str]], say: Words
) -> Iterator[Section]:
    if not questions:
        return
    cases = [
        Case(
            question,
            "",
            [
                (say("prompt"), Quote(question)),
                *((training.name, Quote(given[number])) for training, given in zip(trainings, answers, strict=True)),
            ],
        )
        for number, question in enumerate(questions)
    ]
    yield Section("answers", say("Answers"), [Cases(cases)])
