"""The reports of an evaluation: the terminal's tables, `evaluation.json`, `evaluation.md` and `evaluation.png`."""

from __future__ import annotations

import contextlib
import functools
import importlib.resources
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_llmbench.core import files
from pytest_llmbench.reports.charts.evaluation import render
from pytest_llmbench.reports.evaluation.markdown import page
from pytest_llmbench.reports.evaluation.text import terminal_lines
from pytest_llmbench.reports.evaluation.words import evaluation_words
from pytest_llmbench.runs.storage import as_json

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import OutputSettings

__all__ = ["evaluation_schema", "evaluation_words", "terminal_lines", "write_evaluation"]

NAME = "evaluation"


def write_evaluation(document: Mapping[str, Any], output: OutputSettings) -> dict[str, Path]:
    """Write those that `output` leaves on into its `report_dir`, all of them or none; kind to path.

    Raises:
        NotReadyError: the disk is full or the folder cannot be written.
    """
    say = evaluation_words(output.language)
    wanted = {"json": output.json, "markdown": output.markdown, "png": output.png}
    paths = {
        kind: output.report_dir / f"{NAME}.{'md' if kind == 'markdown' else kind}" for kind, on in wanted.items() if on
    }
    with contextlib.ExitStack() as replaced_together:
        temporary = {kind: replaced_together.enter_context(files.replacing(path)) for kind, path in paths.items()}
        if path := temporary.get("json"):
            path.write_text(as_json(document), encoding="utf-8")
        if path := temporary.get("markdown"):
            figure = paths["png"].name if "png" in paths else None
            path.write_text(page(document, say, figure), encoding="utf-8")
        if path := temporary.get("png"):
            render(document, path, say)
    return paths


@functools.cache
def evaluation_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every `evaluation.json` obeys."""
    file = importlib.resources.files("pytest_llmbench").joinpath("schemas/evaluation.schema.json")
    return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
