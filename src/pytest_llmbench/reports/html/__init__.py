"""The report of a run as one self-contained HTML page that asks nothing of the network."""

from pytest_llmbench.reports.html.page import render_html, write_html

__all__ = ["render_html", "write_html"]
