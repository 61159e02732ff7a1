"""The files of a run: its document, the page, texts and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.blocks import Report
from pytest_llmbench.reports.charts import benchmark, differences, routing, trend
from pytest_llmbench.reports.html import render_html
from pytest_llmbench.reports.renderers.registry import RendererRegistry, default_renderers
from pytest_llmbench.reports.routing import is_routed
from pytest_llmbench.reports.views.benchmark import benchmark_report
from pytest_llmbench.reports.writing import Sections, Write, rendered, write_together, writing
from pytest_llmbench.runs.averages import in_short
from pytest_llmbench.runs.drift_document import Monitored, NoBand
from pytest_llmbench.runs.storage import as_json, write_json
from pytest_llmbench.runs.typed import RunDocument, RunPoint, run_document

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import OutputSettings


def this_run(language: str) -> str:
    """What a trend calls the run that it ends with."""
    return words(language)("this run")


@dataclasses.dataclass(frozen=True, slots=True)
class Reports:
    """A run's document and the files that hold it: kind (`text`, `png`, `json`, `html`, …, `run`) to path.

    `report` is what the text formats were made of.
    """

    document: Mapping[str, Any]
    run: RunDocument
    paths: Mapping[str, Path]
    report: Report


def write_reports(
    document: Mapping[str, Any],
    output: OutputSettings,
    *,
    run_dir: Path | None = None,
    earlier: Sequence[RunPoint] = (),
    monitored: Monitored | NoBand | None = None,
    renderers: RendererRegistry | None = None,
    sections: Sections | None = None,
) -> Reports:
    """Write a run's document as `run.json` into `run_dir`, then the latest reports, those that are switched on.

    The latest reports stand in `output.report_dir` and appear together: when one cannot be written, all stay as they
    were before. `earlier` are the saved runs that the trend shows, in short (`history.trend`); the figure of it needs
    at least one. `monitored` is what `monitoring.monitor` found of them and this run, or why it was not asked.
    `renderers` are the formats that ship and those of plugins; `sections` gives those that plugins add.

    Raises:
        NotReadyError: the disk is full or a folder cannot be written; the message names the file.
    """
    if run_dir is not None:
        write_json(document, run_dir / "run.json")
    run, added = run_document(document), sections(document) if sections else ()
    history = [*earlier, in_short(this_run(output.language), run)]
    report = benchmark_report(run, output.language, history=history if earlier else (), added=added)
    page = writing(lambda: render_html(run, history, output.language, added))
    switched = {"text": output.text, "markdown": output.markdown, "html": False}  # the page has a template of its own
    wanted = {
        **({"html": (".html", page)} if output.html else {}),
        **rendered(report, renderers or default_renderers(), switched),
        **_pictures(run, output, history, monitored),
        **({"json": (".json", writing(lambda: as_json(document)))} if output.json else {}),
    }
    paths = write_together(output.report_dir, "benchmark", wanted)
    return Reports(document, run, paths | ({"run": run_dir / "run.json"} if run_dir is not None else {}), report)


def _pictures(
    run: RunDocument,
    output: OutputSettings,
    history: Sequence[RunPoint],
    monitored: Monitored | NoBand | None,
) -> dict[str, tuple[str, Write]]:
    """Kind of report to its file's ending and what writes it: the figures."""
    say = words(output.language)
    reports: dict[str, tuple[object, str, Write]] = {
        "png": (output.png, ".png", lambda path: benchmark.save_benchmark(run, path, say)),
        "differences": (
            output.png and run.adapters,
            "-differences.png",
            lambda path: differences.save_differences(run, path, say),
        ),
        "routing": (
            output.png and is_routed(run),
            "-routing.png",
            lambda path: routing.save_routing(run, path, say),
        ),
        "trend": (
            output.png and len(history) > 1,
            "-trend.png",
            lambda path: trend.save_trend(history, path, say, monitored),
        ),
    }
    return {kind: (ending, write) for kind, (on, ending, write) in reports.items() if on}
