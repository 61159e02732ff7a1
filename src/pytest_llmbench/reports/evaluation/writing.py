"""Writing the reports of an evaluation: `evaluation.json`, `.txt`, `.md`, `.html` and `.png`."""

from __future__ import annotations

import contextlib
import functools
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llmbench.core import files
from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.charts.evaluation import render
from pytest_llmbench.reports.renderers.registry import default_renderers
from pytest_llmbench.reports.views.evaluation import evaluation_report
from pytest_llmbench.runs.storage import as_json

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import OutputSettings

NAME = "evaluation"


def write_evaluation(document: Mapping[str, Any], output: OutputSettings) -> dict[str, Path]:
    """Write those that `output` leaves on into its `report_dir`, all of them or none; kind to path.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written.
    """
    draw = functools.partial(render, document, say=words(output.language))
    figure = f"{NAME}.png" if output.png else None
    report = evaluation_report(document, output.language, draw=draw if output.png else None, figure=figure)
    wanted = {"text": output.text, "markdown": output.markdown, "html": output.html}
    texts = {one.name: (one.suffix, one) for one in default_renderers() if wanted[one.name]}
    paths = {}
    with contextlib.ExitStack() as replaced_together:

        def written(kind: str, suffix: str) -> Path:
            paths[kind] = output.report_dir / f"{NAME}.{suffix}"
            return replaced_together.enter_context(files.replacing(paths[kind]))

        if output.json:
            written("json", "json").write_text(as_json(document), encoding="utf-8")
        for kind, (suffix, renderer) in texts.items():
            written(kind, suffix).write_text(renderer.render(report), encoding="utf-8")
        if output.png:
            draw(path=written("png", "png"))
    return paths


@functools.cache
def evaluation_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every `evaluation.json` obeys."""
    file = importlib.resources.files("pytest_llmbench").joinpath("schemas/evaluation.schema.json")
    return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
