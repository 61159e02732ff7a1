"""Writing all reports of a run at once, or none of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench import atomic
from pytest_llmbench.records import Run
from pytest_llmbench.reports.document import build_document
from pytest_llmbench.reports.figures import render
from pytest_llmbench.reports.storage import as_json, write_json
from pytest_llmbench.reports.text import analysis
from pytest_llmbench.reports.wording import words

if TYPE_CHECKING:
    from pytest_llmbench.settings import OutputSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Reports:
    """A run's document and the files that hold it: kind (`text`, `png`, `json`, `run`) to path."""

    document: Mapping[str, Any]
    paths: Mapping[str, Path]


def write_reports(run: Run, output: OutputSettings, *, run_dir: Path | None = None) -> Reports:
    """Write `run.json` into `run_dir`, then the latest reports into `output.report_dir`, those that are switched on.

    The latest reports appear together: when one cannot be written, all stay as they were before.

    Raises:
        NotReadyError: the disk is full or a folder cannot be written; the message names the file.
    """
    document, folder = build_document(run, answer_chars=output.answer_chars), output.report_dir
    wanted: dict[str, tuple[bool, str, Callable[[Path], object]]] = {
        "text": (output.text, "benchmark.txt", lambda path: _write(path, analysis(document, output.language))),
        "png": (output.png, "benchmark.png", lambda path: render(document, path, words(output.language))),
        "json": (output.json, "benchmark.json", lambda path: _write(path, as_json(document))),
    }
    paths = {kind: folder / name for kind, (on, name, _) in wanted.items() if on}
    if run_dir is not None:
        write_json(document, run_dir / "run.json")
    with contextlib.ExitStack() as replaced_together:
        for kind, path in paths.items():
            wanted[kind][2](replaced_together.enter_context(atomic.replacing(path)))
    return Reports(document, paths | ({"run": run_dir / "run.json"} if run_dir is not None else {}))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
