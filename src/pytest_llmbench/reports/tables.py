"""Aligned tables and shortened text for terminals, accents and wide characters included."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from pytest_llmbench.core.text_cells import columns, pad

WIDTH = 110
"""Characters a line of the text report; a table of several adapters may be wider."""


def boxed(*blocks: Sequence[Sequence[str]]) -> list[str]:
    """A table in box-drawing characters; a rule parts the blocks of rows (header, body, perhaps a total)."""
    filled = iter(columns([row for block in blocks for row in block]))
    parts = [[next(filled) for _ in block] for block in blocks]
    rules = ["─" * (cell_len(cell) + 2) for cell in parts[0][0]]
    lines = [f"┌{'┬'.join(rules)}┐"]
    for part in parts:
        lines += [*(f"│ {' │ '.join(cells)} │" for cells in part), f"├{'┼'.join(rules)}┤"]
    return [*lines[:-1], f"└{'┴'.join(rules)}┘"]


def wrapped(sentences: Iterable[str]) -> list[str]:
    """Sentences over as many lines as they need."""
    return [line for text in sentences for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ") or [""]]


def aligned(facts: Sequence[tuple[str, str]]) -> list[str]:
    """`name : value` lines with the colons under each other."""
    width = max((cell_len(name) for name, _ in facts), default=0)
    return [f"{pad(name, width, right=False)} : {value}" for name, value in facts]
