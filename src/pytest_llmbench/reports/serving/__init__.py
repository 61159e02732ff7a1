"""What a person reads after a search for the limits of live servers: JSON, figure, page, text and terminal lines."""

from pytest_llmbench.autotune.found_limits import TargetReport
from pytest_llmbench.reports.serving.document import build_document, read_document, serving_schema
from pytest_llmbench.reports.serving.explanation_words import explain
from pytest_llmbench.reports.serving.terminal import summary_lines
from pytest_llmbench.reports.serving.writing import write_document, write_reports

__all__ = [
    "TargetReport",
    "build_document",
    "explain",
    "read_document",
    "serving_schema",
    "summary_lines",
    "write_document",
    "write_reports",
]
