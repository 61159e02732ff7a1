"""`llmbench evaluate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_llmbench.cli.options import (
    Config,
    Json,
    Language,
    MaxNewTokens,
    ModelOptions,
    ReportDir,
    ServerOptions,
    SettingOption,
    chosen_settings,
)
from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.benchmark.evaluation.evaluate import EvaluationRequest

_NO_GENERAL = "none"


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked: passages beside the questions, how many of them, and general knowledge."""

    chunks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Chunks, or rows, that retrieval may find; none, no retrieval.")
    ] = None
    retriever: Annotated[Literal["bm25", "embedding", "hybrid"], typer.Option(help="How passages are found.")] = "bm25"
    passages: Annotated[int, typer.Option(metavar="N", min=1, help="Passages read with each question.")] = 3
    context_prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="How they are put, with {passages} and {question}; the rows' language."),
    ] = None
    limit: Annotated[int | None, typer.Option(metavar="N", min=2, help="Only so many rows, drawn at random.")] = None
    general: Annotated[
        str | None, typer.Option(metavar="FILE|none", help="Texts and questions of the forgetting check.")
    ] = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Generation:
    """How answers are made."""

    temperature: Annotated[str, SettingOption("generation.temperature", default=False)] = "0"
    max_new_tokens: MaxNewTokens = None
    batch_size: Annotated[str | None, SettingOption("generation.batch_size")] = None
    seed: Annotated[str | None, SettingOption("generation.seed", more=", and of what --limit draws")] = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """What is gone on with, and where the reports go."""

    strict: Annotated[bool, SettingOption("benchmark.strict", "--strict")] = False
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an evaluation that was stopped.")] = False
    report_dir: ReportDir = None
    language: Language = None


def evaluate_command(
    test: Annotated[Path, typer.Argument(metavar="TEST", help="Rows with questions and reference answers.")],
    *,
    model: ModelOptions,
    asked: _Asked,
    generation: _Generation,
    server: ServerOptions,
    kept: _Kept,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Score fine-tune, base and retrieval on a test set.

    BLEU, chrF, ROUGE, similarity of sentences, exact match, repetition and runaway dialogue, with intervals and
    verdicts; and what the fine-tune forgot. --chunks adds retrieval. Writes evaluation.json, .txt, .md, .html and .png.
    """
    greedy = {"generation.do_sample": "false"} if _is_zero(generation.temperature) else {}
    settings = chosen_settings(config, model, generation, server, kept, **greedy)
    from pytest_llmbench.benchmark.evaluation.document import typed_evaluation
    from pytest_llmbench.benchmark.evaluation.evaluate import evaluate as run
    from pytest_llmbench.cli.terminal import AnswerCount
    from pytest_llmbench.reports.blocks import Depth
    from pytest_llmbench.reports.renderers.terminal import terminal_lines
    from pytest_llmbench.reports.views.evaluation import evaluation_report
    from pytest_llmbench.reports.writing.evaluation import write_evaluation
    from pytest_llmbench.runs.storage import as_json as document_text

    request = _request(test, asked, resume=kept.resume)
    count = AnswerCount()
    try:
        document = run(settings, request, count)
    finally:
        count.end()
    paths = write_evaluation(document, settings.output)
    if as_json:
        typer.echo(document_text(document), nl=False)
        return
    report = evaluation_report(typed_evaluation(document), settings.output.language)
    typer.echo("\n".join([report.title, "", *terminal_lines(report, report_width(), Depth.FULL)]))
    typer.echo(f"\n{', '.join(map(str, paths.values()))}")


def _request(test: Path, asked: _Asked, *, resume: bool) -> EvaluationRequest:
    from pytest_llmbench.benchmark.evaluation.evaluate import EvaluationRequest
    from pytest_llmbench.benchmark.evaluation.questions import GENERAL_FILE

    if asked.context_prompt is not None and asked.chunks is None:
        raise UsageError("--context-prompt is for retrieval; give --chunks too")
    return EvaluationRequest(
        test,
        asked.chunks,
        asked.passages,
        asked.retriever,
        asked.context_prompt,
        asked.limit,
        None if asked.general == _NO_GENERAL else Path(asked.general) if asked.general else GENERAL_FILE,
        resume,
    )


def _is_zero(number: str) -> bool:
    """Whether it is a zero, however written; what is no number is refused where settings are read."""
    try:
        return float(number) == 0
    except ValueError:
        return False
