"""Reports of a run: a text, a figure, a page and a terminal table made from its document."""

from pytest_llmbench.reports.charts.benchmark import draw
from pytest_llmbench.reports.terminal import summary_lines
from pytest_llmbench.reports.text import analysis
from pytest_llmbench.reports.writing import Reports, write_reports

__all__ = ["Reports", "analysis", "draw", "summary_lines", "write_reports"]
