"""Reports of a run: texts, figures and a page made from its document."""

from pytest_llmbench.reports.views.benchmark import benchmark_report
from pytest_llmbench.reports.writing.benchmark import Reports, write_reports

__all__ = ["Reports", "benchmark_report", "write_reports"]
