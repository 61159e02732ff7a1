"""A report as a text file: every block, titles underlined, tables in boxes."""

from __future__ import annotations

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.text_cells import one_line
from pytest_llmbench.reports.blocks import Depth, Report
from pytest_llmbench.reports.limits import ROOM

WIDTH = 110
"""Characters a line; a table may be wider."""


class Text:
    """`benchmark.txt` and the like."""

    name, suffix = "text", "txt"

    def render(self, report: Report) -> str:
        """The whole report."""
        from rich.box import SQUARE

        from pytest_llmbench.reports.renderers.layout import Layout

        layout = Layout(words(report.language), ROOM[Depth.FULL], WIDTH, box=SQUARE, is_wide=True)
        lines = ["=" * WIDTH, one_line(report.title).center(WIDTH).rstrip(), "=" * WIDTH]
        for section in report.at(Depth.FULL):
            lines += ["", *([one_line(section.title), "-" * WIDTH] if section.title else [])]
            lines += layout.lines(section.blocks)
        return "\n".join(lines) + "\n"
