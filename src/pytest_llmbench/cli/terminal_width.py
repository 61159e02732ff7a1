"""How wide commands print reports."""

from __future__ import annotations

import shutil

_WIDEST, _NARROWEST = 110, 60


def report_width() -> int:
    """The terminal's width in cells, where lines are neither too long nor too short to be read."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 0)).columns))
