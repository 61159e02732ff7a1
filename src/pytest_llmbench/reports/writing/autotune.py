"""What is written when a session's questions were answered, all of them or some: the reports, and the limits' file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.autotune import model_limits
from pytest_llmbench.autotune.document import LimitsDocument
from pytest_llmbench.reports.charts.search import save_search
from pytest_llmbench.reports.html.autotune import render_limits_page
from pytest_llmbench.reports.renderers.registry import RendererRegistry, default_renderers
from pytest_llmbench.reports.serving.document import limits_document
from pytest_llmbench.reports.views.autotune import autotune_report
from pytest_llmbench.reports.writing import Sections, Write, rendered, write_together, writing
from pytest_llmbench.runs.storage import as_json

if TYPE_CHECKING:
    from pytest_llmbench.autotune.found_limits import FoundLimits
    from pytest_llmbench.core.settings import Settings


@dataclass(frozen=True, slots=True)
class LimitReports:
    """The document, and the files made from it: kind to path."""

    document: LimitsDocument
    paths: Mapping[str, Path]


def write_limits(
    found: FoundLimits,
    settings: Settings,
    command: str,
    *,
    renderers: RendererRegistry | None = None,
    sections: Sections | None = None,
) -> LimitReports:
    """Write `autotune.*` into the report folder, and `load.out` where a limit was searched.

    `renderers` and `sections` are those of plugins too.

    Raises:
        NotReadyError: the disk refuses.
    """
    document = limits_document(found.documents(), settings, command)
    folder = settings.output.report_dir
    paths = write_document(document, settings, folder, renderers=renderers, sections=sections)
    if any(target.findings for target in document.targets):
        model_limits.write_limits_file(settings.load.out, document)
        paths["limits"] = settings.load.out
    return LimitReports(document, paths)


def write_document(
    document: LimitsDocument,
    settings: Settings,
    report_dir: Path,
    *,
    renderers: RendererRegistry | None = None,
    sections: Sections | None = None,
) -> dict[str, Path]:
    """Write `autotune.json`, `.png`, `.html`, `.md` and `.txt` into the folder, those that `output` has on.

    Returns kind to path. They appear together: when one cannot be written, all stay as they were before. `renderers`
    are the formats that ship and those of plugins; `sections` gives those that plugins add.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; the message names the file.
    """
    output, plain = settings.output, document.json_ready()
    added = sections(plain) if sections else ()
    report = autotune_report(document, output.language, added)
    switched = {"text": output.text, "markdown": output.markdown, "html": False}  # the page has a template of its own
    drawn: dict[str, tuple[bool, Write]] = {
        "json": (output.json, writing(lambda: as_json(plain))),
        "png": (output.png and document.is_measured, lambda path: save_search(document, path, output.language)),
        "html": (output.html, writing(lambda: render_limits_page(document, output.language, added))),
    }
    wanted = {kind: (f".{kind}", write) for kind, (on, write) in drawn.items() if on}
    return write_together(
        report_dir, "autotune", {**wanted, **rendered(report, renderers or default_renderers(), switched)}
    )
