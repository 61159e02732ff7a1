"""What reports are made of: sections of blocks. They hold worded text and typed numbers, and know no format.

A view turns a document into a `Report`, once for all formats; a renderer turns the report into one format. A block is
shown by every format that has room for its `depth`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

Verdicts = Literal["pass", "fail", "inconclusive", "none"]
"""An outcome; `none` where there is evidence and no word of judgement."""


class Depth(enum.IntEnum):
    """How much a format has room for."""

    BRIEF = 1
    """The end of a session in a terminal."""
    SUMMARY = 2
    """A comment on a pull request."""
    FULL = 3
    """A file of its own."""


# cells


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """What a user called something: a category, a variant, a tool. Long ones are cut in the middle."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Quote:
    """What a user or a model wrote: a prompt, an answer. Long ones are cut at the end."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    """A score, a time or a count; None is unscored."""

    value: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Delta:
    """A difference, with its sign."""

    value: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Percent:
    """A relative difference as a share of one, with its sign."""

    value: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """Two ends, of a difference where `signed`; None where there is none."""

    low: float | None
    high: float | None
    signed: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A score on both sides of a comparison."""

    before: float | None
    after: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict's word, with its sign where a format has signs."""

    outcome: Verdicts
    word: str


Cell = str | Name | Quote | Number | Delta | Percent | Interval | Change | Outcome
"""What a table or a fact holds; a `str` is prose in the reader's language."""
Fact = tuple[str, Cell]


# blocks


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Shown by formats of this depth and deeper ones, until the one that shows the same more fully."""

    depth: Depth = Depth.SUMMARY
    until: Depth = Depth.FULL


@dataclasses.dataclass(frozen=True, slots=True)
class Heading(Block):
    """A title inside a section."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict(Block):
    """What a reader came for, in one line; it heads its section."""

    outcome: Verdicts
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Sentences(Block):
    """Sentences that each stand for themselves, as a list or as paragraphs. A list may be cut, and then says so."""

    lines: Sequence[str]
    listed: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Facts(Block):
    """Names and values."""

    items: Sequence[Fact]


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column's title, and whose it is where several have one of that title. Names stand to the left."""

    title: str
    owner: str | None = None
    left: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Table(Block):
    """Rows of cells. `total` stands apart below them, and is never cut."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Sequence[Cell]] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One case: its name, what is to be seen in it, and what was asked and answered."""

    name: str
    note: str
    facts: Sequence[Fact] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Cases(Block):
    """Cases in order."""

    cases: Sequence[Case]


@dataclasses.dataclass(frozen=True, slots=True)
class Chart(Block):
    """A picture: what `draw` writes as PNG. `file` is its path from the report's folder, where it is a file too.

    `svg` makes an SVG element of it for a page, under a name that is unique there; pages show the PNG without it.
    """

    title: str
    draw: Callable[[Path], object]
    file: str | None = None
    svg: Callable[[str], str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Details(Block):
    """Blocks under a title that a reader opens, in formats where things can be closed."""

    title: str
    blocks: Sequence[Block]


# reports


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a title. `name` is for programs: the same in each language."""

    name: str
    title: str
    blocks: Sequence[Block]
    folded: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """What a CI system shows on its own, beside every report: a title and lines."""

    level: Literal["error", "warning", "notice"]
    title: str
    lines: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """A document in a reader's language, the most important section first."""

    title: str
    language: str
    sections: Sequence[Section]
    alerts: Sequence[Alert] = ()

    def only(self, *names: str) -> Report:
        """The report with these sections alone."""
        return dataclasses.replace(self, sections=[one for one in self.sections if one.name in names])

    def without(self, *names: str) -> Report:
        """The report without these sections."""
        return dataclasses.replace(self, sections=[one for one in self.sections if one.name not in names])

    def at(self, depth: Depth) -> list[Section]:
        """The sections that have blocks for a format of this depth, with those."""
        shown = [dataclasses.replace(one, blocks=_at(one.blocks, depth)) for one in self.sections]
        return [one for one in shown if one.blocks]


def _at(blocks: Sequence[Block], depth: Depth) -> list[Block]:
    shown = [
        dataclasses.replace(one, blocks=_at(one.blocks, depth)) if isinstance(one, Details) else one
        for one in blocks
        if one.depth <= depth <= one.until
    ]
    return [one for one in shown if not _is_empty(one)]


def _is_empty(block: Block) -> bool:
    match block:
        case Sentences(lines=held) | Facts(items=held) | Cases(cases=held) | Details(blocks=held):
            return not held
        case Table():
            return not (block.rows or block.total)
    return False
