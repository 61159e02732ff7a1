"""A report at the end of a session: no wider than the terminal, in characters that every terminal has."""

from __future__ import annotations

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.blocks import Depth, Heading, Report
from pytest_llmbench.reports.limits import ROOM

_LEAST_WIDTH = 20


def terminal_lines(report: Report, width: int, depth: Depth = Depth.BRIEF) -> list[str]:
    """The report's lines in at most `width` cells; an empty one between sections.

    Deeper reports than a brief one have titles.
    """
    from pytest_llmbench.reports.renderers.layout import Layout

    layout = Layout(words(report.language), ROOM[depth], max(width, _LEAST_WIDTH), box=None, is_wide=False)
    sections = []
    for section in report.at(depth):
        title = [Heading(section.title)] if section.title and depth > Depth.BRIEF else []
        sections.append(layout.lines([*title, *section.blocks]))
    return [line for lines in sections for line in ["", *lines]][1:]
