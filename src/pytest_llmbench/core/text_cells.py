"""Text in terminal cells: shortened and aligned, accents and wide characters included."""

from __future__ import annotations

import bisect
import unicodedata
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

ELLIPSIS = "…"


def one_line(text: str) -> str:
    """The text on one line, without control characters and broken ones: an answer may hold escape sequences."""
    spaced = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return "".join(char for char in spaced if unicodedata.category(char) not in {"Cc", "Cf"} or char == "\u200d")


def shorten_middle(text: str, width: int, ellipsis: str = ELLIPSIS) -> str:
    """The text on one line in at most `width` cells, cut in the middle: names often differ at their ends."""
    line = one_line(text)
    if cell_len(line) <= width:
        return line
    head = set_cell_size(line, width // 2).rstrip()
    room = width - width // 2 - len(ellipsis)
    # Halving, for an answer may be long, and measuring its width looks at every character.
    start = bisect.bisect_left(range(len(line) + 1), -room, key=lambda place: -cell_len(line[place:]))
    return head + ellipsis + line[start:]


def shorten(text: str, width: int) -> str:
    """The text on one line in at most `width` terminal cells, marked where it was cut."""
    line = one_line(text)
    if cell_len(line) <= width:
        return line
    return set_cell_size(line, width - 1).rstrip() + ELLIPSIS


def pad(text: str, width: int, *, right: bool) -> str:
    """The text filled with spaces to `width` cells; numbers go to the right."""
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows' cells padded column by column: the first column to the left, the others to the right."""
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        [pad(cell, width, right=place > 0) for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    ]
