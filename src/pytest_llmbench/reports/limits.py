"""How much of a long list a report shows: one place, so that formats differ only where their room does."""

from __future__ import annotations

import dataclasses

from pytest_llmbench.reports.blocks import Depth

TOP = 5
"""Cases in a ranking: as many as people read."""
MOVED_VERDICTS = 4
"""Verdicts whose moved cases are shown with their answers: those that made the outcome come first."""
CONFUSIONS = 10
"""Kinds of confusion a variant."""
SIDE_BY_SIDE = 6
"""Questions of an evaluation whose answers stand side by side, spread over the test set."""


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """Rows of a table, lines of a list, and terminal cells of a quoted text and of a name."""

    rows: int
    lines: int
    quote: int
    name: int


ROOM = {
    Depth.BRIEF: Room(rows=10, lines=10, quote=80, name=40),  # a screen, which has the path of the whole report below
    Depth.SUMMARY: Room(rows=60, lines=30, quote=160, name=40),  # GitHub refuses comments above 65,536 characters
    Depth.FULL: Room(rows=1000, lines=1000, quote=400, name=60),  # nobody reads on; the JSON document has every row
}
