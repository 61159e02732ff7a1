"""Reports in one format each, as the tests read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.autotune.document import LimitsDocument, typed_limits
from pytest_llmbench.reports.renderers.markdown import Markdown
from pytest_llmbench.reports.renderers.terminal import terminal_lines
from pytest_llmbench.reports.renderers.text import Text
from pytest_llmbench.reports.views.autotune import autotune_report
from pytest_llmbench.reports.views.benchmark import benchmark_report, with_paths
from pytest_llmbench.reports.views.gate import gate_report
from pytest_llmbench.runs.typed import gate_document, run_document


def analysis(document: Mapping[str, Any], language: str) -> str:
    """`benchmark.txt`."""
    return Text().render(benchmark_report(run_document(document), language))


def markdown(document: Mapping[str, Any], language: str) -> str:
    """`benchmark.md`."""
    return Markdown().render(benchmark_report(run_document(document), language))


def summary_lines(
    document: Mapping[str, Any], paths: Mapping[str, Path], width: int, language: str = "en"
) -> list[str]:
    """What a terminal shows of a run, without its gate."""
    return terminal_lines(with_paths(benchmark_report(run_document(document), language).without("gate"), paths), width)


def gate_lines(gate: Mapping[str, Any], width: int, language: str = "en") -> list[str]:
    """What a terminal shows of a gate."""
    return terminal_lines(gate_report(gate_document(gate), language), width)


def limits_text(document: Mapping[str, Any] | LimitsDocument, language: str) -> str:
    """`autotune.txt`."""
    return Text().render(autotune_report(typed_limits(document), language))


def limits_lines(
    document: Mapping[str, Any] | LimitsDocument,
    width: int,
    paths: Mapping[str, Path] | None = None,
    language: str = "en",
) -> list[str]:
    """What a terminal shows of an autotune session."""
    return terminal_lines(autotune_report(typed_limits(document), language, paths=paths), width)
