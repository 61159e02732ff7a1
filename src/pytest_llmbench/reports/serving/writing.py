"""Writing all reports of a session at once, or none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune.found_limits import TargetReport
from pytest_llmbench.core import files
from pytest_llmbench.reports.blocks import Report, Section
from pytest_llmbench.reports.charts.search import render
from pytest_llmbench.reports.renderers.registry import Renderer, RendererRegistry, default_renderers
from pytest_llmbench.reports.serving.document import build_document
from pytest_llmbench.reports.serving.page import render_html
from pytest_llmbench.reports.views.autotune import autotune_report
from pytest_llmbench.runs.storage import as_json

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings

NAME = "autotune"


def write_reports(
    targets: Sequence[TargetReport], settings: Settings, report_dir: Path, command: str
) -> dict[str, Path]:
    """Write `autotune.json`, `.png`, `.html`, `.md` and `.txt` into the folder, those that `output` has on.

    Returns kind to path. They appear together: when one cannot be written, all stay as they were before.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; the message names the file.
    """
    return write_document(build_document(targets, settings, command), settings, report_dir)


def write_document(
    document: Mapping[str, Any],
    settings: Settings,
    report_dir: Path,
    *,
    renderers: RendererRegistry | None = None,
    sections: Callable[[Mapping[str, Any]], Sequence[Section]] | None = None,
) -> dict[str, Path]:
    """The same for a document that was built already. Raises NotReadyError as `write_reports` does.

    `renderers` are the formats that ship and those of plugins; `sections` gives those that plugins add.
    """
    added = sections(document) if sections else ()
    report = autotune_report(document, settings.output.language, added)
    wanted = {
        **_wanted(document, settings, added),
        **_texts(report, settings, renderers or default_renderers()),
    }
    paths = {}
    with contextlib.ExitStack() as replaced_together:
        for kind, (suffix, write) in wanted.items():
            paths[kind] = report_dir / f"{NAME}.{suffix}"
            write(replaced_together.enter_context(files.replacing(paths[kind])))
    return paths


def _texts(
    report: Report, settings: Settings, renderers: RendererRegistry
) -> dict[str, tuple[str, Callable[[Path], object]]]:
    """The formats that are switched on, plugins' always; the page has a template of its own."""
    switched = {"text": settings.output.text, "markdown": settings.output.markdown, "html": False}

    def written(renderer: Renderer) -> Callable[[Path], object]:
        return lambda path: _write(path, renderer.render(report))

    return {one.name: (one.suffix, written(one)) for one in renderers if switched.get(one.name, True)}


def _wanted(
    document: Mapping[str, Any], settings: Settings, added: Sequence[Section]
) -> dict[str, tuple[str, Callable[[Path], object]]]:
    output, language = settings.output, settings.output.language
    measured = any(target["findings"] or target["temperature"] for target in document["targets"])
    reports: dict[str, tuple[bool, str, Callable[[Path], object]]] = {
        "json": (output.json, "json", lambda path: _write(path, as_json(document))),
        "png": (output.png and measured, "png", lambda path: render(document, path, language)),
        "html": (output.html, "html", lambda path: _write(path, render_html(document, language, added))),
    }
    return {kind: (suffix, write) for kind, (on, suffix, write) in reports.items() if on}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
