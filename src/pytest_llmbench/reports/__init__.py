"""Reports of a run: one JSON document, and a text, a figure and a terminal table made from it."""

from pytest_llmbench.reports.document import build_document
from pytest_llmbench.reports.figures import draw
from pytest_llmbench.reports.provenance import provenance
from pytest_llmbench.reports.storage import read_document, run_schema, write_json
from pytest_llmbench.reports.terminal import summary_lines
from pytest_llmbench.reports.text import analysis
from pytest_llmbench.reports.writing import Reports, write_reports

__all__ = [
    "Reports",
    "analysis",
    "build_document",
    "draw",
    "provenance",
    "read_document",
    "run_schema",
    "summary_lines",
    "write_json",
    "write_reports",
]
