"""`llmbench report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pytest_llmbench.cli.context_runs import context_meant, context_text, write_context_file
from pytest_llmbench.cli.options import Config, ReportDir, Run, reports_folder, settings_file
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_runs import SavedContext
    from pytest_llmbench.runs.history import SavedRun

Format = Literal["text", "json", "html", "markdown", "png", "differences", "routing", "trend"]
_FILES = {"html", "png", "differences", "routing", "trend"}

_TREND_RUNS = 30


def report(
    run: Run,
    *,
    language: Annotated[str | None, typer.Option(metavar="en|fr", help="Language; the run's own by default.")] = None,
    as_format: Annotated[Format, typer.Option("--format", help="What to make of it.")] = "text",
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file instead.")] = None,
    config: Config = None,
    report_dir: ReportDir = None,
) -> None:
    """Show a saved run, as text or in another format.

    A baseline holds no answers: its scores are shown as text or JSON only.
    """
    from pytest_llmbench.runs.history import find_run, refuse_output

    folder = reports_folder(report_dir, config)
    if context := context_meant(run, folder):
        if output is not None:
            refuse_output(output, (context.path, settings_file(config)))
        _show_context(context, as_format, output, language)
        return
    found = find_run(run, folder)
    if output is not None:
        refuse_output(output, (found.path, settings_file(config)))
    found = _judged(found)
    language = language or _own_language(found.document)
    if as_format in _FILES:
        file = _file_for(as_format, output)
        _write_file(as_format, found, file, language, folder)
        typer.echo(file)
        return
    _show(_text(as_format, found, language, folder), output)


def _show(text: str, output: Path | None) -> None:
    """Print it, or write it where a file is named."""
    if output is None:
        typer.echo(text, nl=False)
        return
    from pytest_llmbench.core.files import write_text

    write_text(output, text)
    typer.echo(output)


def _file_for(as_format: Format, output: Path | None) -> Path:
    if output is None:
        raise UsageError(f"--format {as_format} makes a file; say where with --output")
    return output


def _show_context(run: SavedContext, as_format: Format, output: Path | None, language: str | None) -> None:
    if as_format in _FILES:
        file = _file_for(as_format, output)
        write_context_file(run, as_format, file, language)
        typer.echo(file)
        return
    _show(context_text(run, as_format, language), output)


def _judged(run: SavedRun) -> SavedRun:
    """The run with the comparison that older ones lack; a baseline has no answers of a base to compare."""
    from pytest_llmbench.runs.base_comparison import with_comparison

    return run if run.is_baseline else dataclasses.replace(run, document=with_comparison(run.document))


def _own_language(document: Mapping[str, Any]) -> str:
    output = (document["metadata"].get("settings") or {}).get("output") or {}
    return str(output.get("language", "en"))


def _text(as_format: Format, run: SavedRun, language: str, report_dir: Path) -> str:
    from pytest_llmbench.core.locale import words
    from pytest_llmbench.reports import benchmark_report
    from pytest_llmbench.reports.html.trend import runs_of_trend
    from pytest_llmbench.reports.renderers.registry import default_renderers
    from pytest_llmbench.runs.history import trend
    from pytest_llmbench.runs.storage import as_json

    if as_format == "json":
        return as_json(run.document)
    if run.is_baseline and as_format == "text":
        return _baseline_text(run)
    _refuse_baseline(as_format, run)
    earlier = trend(report_dir, _TREND_RUNS, until=run.typed.metadata.timestamp)
    points = runs_of_trend(run.typed, earlier, words(language))
    told = benchmark_report(run.typed, language, history=points if len(points) > 1 else ())
    return default_renderers()[as_format].render(told)


def _write_file(as_format: Format, run: SavedRun, path: Path, language: str, report_dir: Path) -> None:
    from pytest_llmbench.core.files import replacing
    from pytest_llmbench.core.locale import words
    from pytest_llmbench.reports.charts.benchmark import save_benchmark
    from pytest_llmbench.reports.charts.differences import save_differences
    from pytest_llmbench.reports.charts.routing import save_routing
    from pytest_llmbench.reports.charts.trend import save_trend
    from pytest_llmbench.reports.html.page import write_html
    from pytest_llmbench.reports.html.trend import runs_of_trend
    from pytest_llmbench.runs.history import trend

    _refuse_baseline(as_format, run)
    document, say = run.typed, words(language)
    history = trend(report_dir, _TREND_RUNS, until=document.metadata.timestamp)
    if as_format == "html":
        write_html(document, history, path, language)
        return
    with replacing(path) as temporary:
        if as_format == "trend":
            save_trend(runs_of_trend(document, history, say), temporary, say)
        else:
            save = {"png": save_benchmark, "differences": save_differences, "routing": save_routing}[as_format]
            save(document, temporary, say)


def _refuse_baseline(as_format: Format, run: SavedRun) -> None:
    if run.is_baseline:
        raise UsageError(
            f"{run.name}: a baseline holds no answers, which --format {as_format} needs; give the run that it was made "
            "from, or take --format text"
        )


def _baseline_text(run: SavedRun) -> str:
    from pytest_llmbench.runs.baseline import baseline_lines

    metadata = run.document["metadata"]
    heading = (
        f"baseline {run.name} of {metadata['timestamp']}, {metadata['base_model']}; "
        "it holds scores and no answers: for those, give the run that it was made from"
    )
    return "\n".join([heading, "", *baseline_lines(run.document), ""])
