"""Saved context runs as `llmbench report` and `llmbench compare` show them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pytest_llmbench.cli.terminal import report_width
from pytest_llmbench.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GateSettings
    from pytest_llmbench.runs.context_runs import SavedContext

_FAILED = 1
_TEXTS = ("text", "markdown")


def context_meant(reference: str, report_dir: Path) -> SavedContext | None:
    """The context run that a reference to a saved run means; None where it means another kind of run.

    Of runs of both kinds that a reference fits (`latest`, a name, a commit) it means the newest.
    """
    from pytest_llmbench.runs.context_runs import context_run
    from pytest_llmbench.runs.history import find_run

    found = context_run(reference, report_dir)
    if found is None or _number(found.path) is None:
        return found
    try:
        other = _number(find_run(reference, report_dir).path)
    except UsageError:  # it fits no run of the other kind
        return found
    return None if other is not None and other > (_number(found.path) or 0) else found


def _number(file: Path | None) -> int | None:
    """The number of the saved run that a file is of."""
    from pytest_llmbench.runs.folders import NUMBERED

    match = NUMBERED.fullmatch(file.parent.name) if file else None
    return int(match[1]) if match else None


def context_text(run: SavedContext, as_format: str, language: str | None) -> str:
    """The run in a format of text, in its own language by default.

    Raises:
        UsageError: context runs have no such format.
    """
    from pytest_llmbench.reports.renderers.registry import default_renderers
    from pytest_llmbench.reports.views.context import context_report

    if as_format == "json":
        return run.document.as_json()
    if as_format not in _TEXTS:
        raise UsageError(f"--format {as_format}: {run.name} is a context run; take text, json, html, markdown or png")
    return default_renderers()[as_format].render(context_report(run.document, _language(run, language)))


def write_context_file(run: SavedContext, as_format: str, path: Path, language: str | None) -> None:
    """The page or the figure. Raises UsageError as `context_text` does."""
    from pytest_llmbench.core.files import replacing, write_text
    from pytest_llmbench.reports.charts.context import draw_context
    from pytest_llmbench.reports.renderers.registry import default_renderers
    from pytest_llmbench.reports.views.context import context_report

    chosen = _language(run, language)
    if as_format == "html":
        write_text(path, default_renderers()["html"].render(context_report(run.document, chosen)))
    elif as_format == "png":
        with replacing(path) as temporary:
            draw_context(run.document, temporary, chosen)
    else:
        write_text(path, context_text(run, as_format, chosen))


def compare_contexts(
    baseline: SavedContext, runs: Sequence[SavedContext], gate: GateSettings, language: str, *, as_json: bool
) -> None:
    """Show each run held against the baseline.

    Raises:
        Exit: with code 1 where the gate fails.
    """
    from pytest_llmbench.context.comparison import compare_context
    from pytest_llmbench.reports.renderers.terminal import terminal_lines
    from pytest_llmbench.reports.views.context_comparison import comparison_report

    found = [compare_context(baseline, run.document, gate) for run in runs]
    if as_json:
        compared: dict[str, Any] = {
            "baseline": _about(baseline),
            "runs": [
                {"run": _about(run), "comparison": one.model_dump(mode="json")}
                for run, one in zip(runs, found, strict=True)
            ],
        }
        typer.echo(json.dumps(compared, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        shown = (
            "\n".join([f"{run.name}:", *terminal_lines(comparison_report(one, language), report_width())])
            for run, one in zip(runs, found, strict=True)
        )
        typer.echo("\n\n".join(shown))
    if any(one.failed for one in found):
        raise typer.Exit(_FAILED)


def _about(run: SavedContext) -> dict[str, Any]:
    path = run.path.as_posix() if run.path else None
    return {"name": run.name, "path": path, "created": run.document.metadata.created}


def _language(run: SavedContext, asked: str | None) -> str:
    own = run.document.metadata.settings.get("output", {}).get("language", "en")
    return asked or str(own)
