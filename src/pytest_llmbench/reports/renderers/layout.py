"""Blocks as rich lays them out: boxes, column widths and wrapping are rich's."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text as RichText

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.text_cells import one_line
from pytest_llmbench.reports.blocks import (
    Block,
    Case,
    Cases,
    Cell,
    Column,
    Details,
    Fact,
    Facts,
    Heading,
    Name,
    Sentences,
    Table,
    Verdict,
)
from pytest_llmbench.reports.limits import Room
from pytest_llmbench.reports.renderers.cells import cell_text, unbroken

_NO_WRAP_WIDTH = 100_000
_GAP = 2  # cells between columns


class Layout:
    """Lays blocks out for one language, room and width. Without a box, columns are parted by spaces.

    `is_wide` lets a table be wider than the lines around it: nothing breaks it, as in a file.
    """

    def __init__(self, say: Words, room: Room, width: int, *, box: Box | None, is_wide: bool) -> None:
        self._say, self._room, self._width, self._box, self._is_wide = say, room, width, box, is_wide

    def lines(self, blocks: Iterable[Block]) -> list[str]:
        """The blocks' lines; none has spaces at its end, or is wider than `width` unless a table may be."""
        found: list[str] = []
        before: Block | None = None
        for block in _opened(blocks):
            shown = self._printed(self._laid_out(block))
            found += ["", *shown] if before is not None and shown and _stand_apart(before, block) else shown
            before = block if shown else before
        return found

    def _printed(self, parts: Iterable[tuple[RenderableType, int]]) -> list[str]:
        found: list[str] = []
        for part, width in parts:
            file = io.StringIO()
            console = Console(
                file=file,
                width=width,
                color_system=None,
                force_terminal=False,
                force_interactive=False,
                legacy_windows=False,
                markup=False,
                highlight=False,
                emoji=False,
            )
            console.print(part, soft_wrap=False)
            found += [line.rstrip() for line in file.getvalue().splitlines()]
        return found

    def _laid_out(self, block: Block) -> Iterator[tuple[RenderableType, int]]:
        match block:
            case Heading(text=text) | Verdict(text=text):
                yield self._text(text), self._width
            case Sentences(lines=sentences, listed=listed):
                yield from ((part, self._width) for part in self._sentences(sentences, listed=listed))
            case Facts(items=facts):
                yield self._facts(facts), _NO_WRAP_WIDTH if self._is_wide else self._width  # a hash stays whole
            case Table():
                yield from self._table(block)
            case Cases(cases=cases):
                yield from self._cases(cases)

    def _cases(self, cases: Sequence[Case]) -> Iterator[tuple[RenderableType, int]]:
        for place, case in enumerate(cases[: self._room.rows], 1):
            yield from self._case(place, case)
        yield from self._more(len(cases) - self._room.rows)

    def _text(self, text: str) -> RichText:
        return RichText(one_line(text))

    def _sentences(self, sentences: Sequence[str], *, listed: bool) -> Iterator[RenderableType]:
        shown = sentences[: self._room.lines] if listed else sentences
        for sentence in shown:
            depth = len(sentence) - len(sentence.lstrip(" "))
            grid = RichTable.grid(padding=0)
            if listed:
                grid.add_column(no_wrap=True)
            grid.add_column(overflow="fold")
            grid.add_row(*([RichText("- ")] if listed else []), self._text(sentence))
            yield Padding(grid, (0, 0, 0, depth))
        if len(sentences) > len(shown):
            yield self._text(self._say("and {count} more", count=len(sentences) - len(shown)))

    def _more(self, count: int) -> Iterator[tuple[RenderableType, int]]:
        if count > 0:
            yield self._text(self._say("and {count} more", count=count)), self._width

    def _facts(self, facts: Sequence[Fact]) -> RenderableType:
        grid = RichTable.grid(padding=(0, 1, 0, 0))
        grid.add_column(no_wrap=not self._is_narrow, overflow="fold")
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in facts:
            grid.add_row(self._text(name), RichText(":"), self._cell(value))
        return grid

    @property
    def _is_narrow(self) -> bool:
        return self._width < 60  # noqa: PLR2004  terminal cells: there names may take half of the line

    def _case(self, place: int, case: Case) -> Iterator[tuple[RenderableType, int]]:
        head = self._say("{place}. {name}", place=place, name=self._plain(Name(case.name)))
        yield self._text(f"{head}   {case.note}"), self._width
        if case.facts:
            yield Padding(self._facts(case.facts), (0, 0, 0, 4)), self._width

    def _table(self, table: Table) -> Iterator[tuple[RenderableType, int]]:
        cells = [*table.rows[: self._room.rows], *table.total]
        rows = [[self._plain(cell) for cell in row] for row in cells]
        if self._is_wide:
            body = len(rows) - len(table.total)
            yield self._boxed(table, rows[:body], rows[body:]), _NO_WRAP_WIDTH
        elif widths := self._widths(table, cells, rows):
            yield self._in_columns(table, rows, widths), self._width
        else:
            for row in rows:
                yield RichText(self._stacked(table.columns, row)), self._width
        yield from self._more(len(table.rows) - self._room.rows)

    def _widths(self, table: Table, cells: Sequence[Sequence[Cell]], rows: Sequence[Sequence[str]]) -> list[int] | None:
        """A number is never broken, a word only where it is long; None where the columns have no room for that.

        What is spare goes to the words of titles first, then to whole cells, from left to right.
        """
        least, titled, wanted = [], [], []
        for place, column in enumerate(table.columns):
            texts = [row[place] for row in rows]
            parts = [part for row, text in zip(cells, texts, strict=True) for part in unbroken(row[place], text)]
            least.append(max(map(cell_len, parts), default=0))
            titled.append(max(map(cell_len, self._title(column).plain.split()), default=0))
            wanted.append(max(map(cell_len, [*texts, *self._title(column).plain.splitlines()])))
        spare = self._width - _GAP * (len(least) - 1) - sum(least)
        if spare < 0:
            return None
        widths = [*least]
        for aims in (titled, wanted):
            for place, aim in enumerate(aims):
                more = min(max(aim - widths[place], 0), spare)
                widths[place] += more
                spare -= more
        return widths

    def _boxed(self, table: Table, *groups: Sequence[Sequence[str]]) -> RichTable:
        """Each group as one row of many lines: rich needs a thousandth of a second for a row."""
        made = RichTable(box=self._box)
        for column in table.columns:
            made.add_column(self._title(column), justify="left" if column.left else "right", no_wrap=True)
        for rows in filter(None, groups):
            made.add_row(*(RichText("\n".join(cells)) for cells in zip(*rows, strict=True)), end_section=True)
        return made

    def _in_columns(self, table: Table, rows: Sequence[Sequence[str]], widths: Sequence[int]) -> RichTable:
        """Columns that are parted by spaces; text is wrapped where the terminal is narrow."""
        made = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        for column, width in zip(table.columns, widths, strict=True):
            justify: Literal["left", "right"] = "left" if column.left else "right"
            made.add_column(self._title(column), justify=justify, width=max(width, 1), overflow="fold")
        for row in rows:
            made.add_row(*map(RichText, row))
        return made

    def _title(self, column: Column) -> RichText:
        owner = [] if column.owner is None else [self._plain(Name(column.owner))]
        title = [one_line(column.title)] if column.title else []
        return RichText("\n".join([*title, *owner]))

    def _stacked(self, columns: Sequence[Column], row: Sequence[str]) -> str:
        told = [
            self._say("{label}: {text}", label=self._title(column).plain.replace("\n", " "), text=text)
            for column, text in zip(columns, row, strict=True)
        ]
        return "; ".join(told)

    def _cell(self, cell: Cell) -> RichText:
        return RichText(self._plain(cell))

    def _plain(self, cell: Cell) -> str:
        return cell_text(cell, self._say, self._room)


def _opened(blocks: Iterable[Block]) -> Iterator[Block]:
    """What can be opened elsewhere is open, under its title."""
    for block in blocks:
        if isinstance(block, Details):
            yield Heading(block.title)
            yield from _opened(block.blocks)
        else:
            yield block


def _stand_apart(before: Block, block: Block) -> bool:
    """Whether an empty line parts two blocks: a title belongs to what follows, a caption to its table."""
    if isinstance(before, (Heading, Verdict)):
        return False
    is_caption = isinstance(before, Table) and isinstance(block, Sentences) and not block.listed
    both_prose = isinstance(before, Sentences) and isinstance(block, Sentences) and before.listed == block.listed
    return not (is_caption or both_prose)
