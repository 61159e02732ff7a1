"""Writing the reports of a context run: `context.json`, `.txt`, `.md`, `.html` and `.png`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.reports.charts.context import draw_context
from pytest_llmbench.reports.renderers.registry import RendererRegistry, default_renderers
from pytest_llmbench.reports.views.context import context_report
from pytest_llmbench.reports.writing import Sections, Write, rendered, write_together, writing

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import OutputSettings
    from pytest_llmbench.runs.context_document import ContextDocument

_NAME = "context"


def write_context(
    document: ContextDocument,
    output: OutputSettings,
    *,
    renderers: RendererRegistry | None = None,
    sections: Sections | None = None,
) -> dict[str, Path]:
    """Write those that `output` leaves on into its `report_dir`, all of them or none; kind to path.

    `renderers` are the formats that ship and those of plugins; `sections` gives those that plugins add, of the
    document as JSON holds it.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written; the message names the file.
    """
    draw = functools.partial(draw_context, document, language=output.language)
    measured = any(target.probes for target in document.targets)
    figure = f"{_NAME}.png" if output.png and measured else None
    added = sections(document.model_dump(mode="json")) if sections else ()
    report = context_report(document, output.language, draw=draw if figure else None, figure=figure, added=added)
    switched = {"text": output.text, "markdown": output.markdown, "html": output.html}
    wanted: dict[str, tuple[str, Write]] = {
        **({"json": (".json", writing(document.as_json))} if output.json else {}),
        **rendered(report, renderers or default_renderers(), switched),
        **({"png": (".png", lambda path: draw(path=path))} if figure else {}),
    }
    return write_together(output.report_dir, _NAME, wanted)
