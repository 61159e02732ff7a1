"""Writing the reports of an evaluation: `evaluation.json`, `.txt`, `.md`, `.html` and `.png`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.benchmark.evaluation.document import typed_evaluation
from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.charts.evaluation import save_evaluation
from pytest_llmbench.reports.renderers.registry import default_renderers
from pytest_llmbench.reports.views.evaluation import evaluation_report
from pytest_llmbench.reports.writing import Write, rendered, write_together, writing
from pytest_llmbench.runs.storage import as_json

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import OutputSettings

_NAME = "evaluation"


def write_evaluation(document: Mapping[str, Any], output: OutputSettings) -> dict[str, Path]:
    """Write those that `output` leaves on into its `report_dir`, all of them or none; kind to path.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written.
    """
    found = typed_evaluation(document)
    draw = functools.partial(save_evaluation, found, say=words(output.language))
    figure = f"{_NAME}.png" if output.png else None
    report = evaluation_report(found, output.language, draw=draw if output.png else None, figure=figure)
    switched = {"text": output.text, "markdown": output.markdown, "html": output.html}
    wanted: dict[str, tuple[str, Write]] = {
        **({"json": (".json", writing(lambda: as_json(document)))} if output.json else {}),
        **rendered(report, default_renderers(), switched),
        **({"png": (".png", lambda path: draw(path=path))} if output.png else {}),
    }
    return write_together(output.report_dir, _NAME, wanted)
