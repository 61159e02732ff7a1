"""A cell as text in the reader's language: the one notation of numbers, changes and intervals."""

from __future__ import annotations

from pytest_llmbench.core.locale import UNSCORED, Words
from pytest_llmbench.core.text_cells import one_line, shorten, shorten_middle
from pytest_llmbench.reports.blocks import Cell, Change, Delta, Interval, Name, Number, Outcome, Percent, Quote
from pytest_llmbench.reports.limits import Room

EMPTY = '""'
_LONG_WORD = 16  # characters


def cell_text(cell: Cell, say: Words, room: Room) -> str:  # noqa: PLR0911  # one return a kind of cell
    """The cell on one line, without control characters: names, prompts and answers may hold escape sequences."""
    match cell:
        case str():
            return one_line(cell)
        case Name():
            return shorten_middle(cell.text, room.name, "...")
        case Quote():
            return shorten(cell.text, room.quote) or EMPTY
        case Outcome():
            return one_line(cell.word)
        case Number():
            return str(cell.value) if isinstance(cell.value, int) else say.number(cell.value)
        case Delta():
            return say.number(cell.value, signed=True)
        case Percent():
            return say.percent(cell.value, signed=True)
        case Change():
            return _change(cell, say)
        case Interval():
            return _interval(cell, say)


def _change(cell: Change, say: Words) -> str:
    if cell.before is None and cell.after is None:
        return UNSCORED
    return f"{say.number(cell.before)} -> {say.number(cell.after)}"


def _interval(cell: Interval, say: Words) -> str:
    if cell.low is None or cell.high is None:
        return UNSCORED
    low, high = (say.number(end, signed=cell.signed) for end in (cell.low, cell.high))
    return say("{low} to {high}", low=low, high=high)


def unbroken(cell: Cell, text: str) -> list[str]:
    """The parts of a cell's text that a narrow column must not break: numbers, and words that are not too long."""
    match cell:
        case Number() | Delta() | Percent() | Change():
            return [text]
        case Interval():
            return text.rsplit(" ", 1)
        case _:
            return [word[:_LONG_WORD] for word in text.split()]
