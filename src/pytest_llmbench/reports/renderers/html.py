"""A report as one HTML page that asks nothing of the network, in the look of the run's own page."""

from __future__ import annotations

import base64
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.core.text_cells import one_line
from pytest_llmbench.reports.blocks import Cell, Chart, Depth, Name, Outcome, Quote, Report
from pytest_llmbench.reports.limits import ROOM
from pytest_llmbench.reports.outcomes import SIGNS
from pytest_llmbench.reports.renderers.cells import cell_text
from pytest_llmbench.reports.renderers.templates import asset, template

_ROOM = ROOM[Depth.FULL]


class Html:
    """`evaluation.html` and the like."""

    name, suffix = "html", "html"

    def render(self, report: Report) -> str:
        """The whole page."""
        return self._rendered("page", report)

    def sections(self, report: Report) -> str:
        """The sections alone, to stand inside another page of the same look."""
        return self._rendered("sections", report)

    def _rendered(self, macro: str, report: Report) -> str:
        say = words(report.language)
        page = template("renderers", f"{macro}.html.j2").render(
            report=report,
            shown=report.at(Depth.FULL),
            say=say,
            cell=lambda one: _cell(one, say),
            kind=lambda block: type(block).__name__,
            is_quote=lambda one: isinstance(one, (Quote, Name)),
            outcome_of=lambda one: one.outcome if isinstance(one, Outcome) else None,
            picture=_picture,
            drawing=_drawings(),
            signs=SIGNS,
            room=_ROOM,
            style=asset("report.css"),
        )
        return page.encode("utf-8", "replace").decode("utf-8")  # a hand-edited document may hold lone surrogates


def _cell(cell: Cell, say: Words) -> str:
    """Names and quotes whole: a page wraps them."""
    return one_line(cell.text) if isinstance(cell, (Name, Quote)) else cell_text(cell, say, _ROOM)


def _picture(chart: Chart) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chart.png"
        chart.draw(path)
        return base64.b64encode(path.read_bytes()).decode()


def _drawings() -> Callable[[Chart], str]:
    """Draws a page's charts as SVG, each under a name of its own."""
    places = itertools.count(1)
    return lambda chart: chart.svg(f"chart{next(places)}") if chart.svg else ""
