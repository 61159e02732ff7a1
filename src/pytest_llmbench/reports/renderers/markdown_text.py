"""Text in Markdown that stays text: what models and users wrote can form no markup, link, mention or table cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.text_cells import one_line, shorten

MOST_CHARACTERS = 59_000
"""GitHub takes comments of 65,536 characters."""
NAME_CELLS = 40
_SENTENCE_CELLS = 600
_CHARACTERS_A_CELL = 4  # combining marks take no cell, and there can be thousands
_BREAK = "&#8203;"  # a zero-width space: what stands around it is no mention, reference, address or formula
_ACTIVE = re.compile(r"www(?=\.)|:(?=//)|[@#$]|[&<`*_\[\]\\|~]|(?<!-)>", re.IGNORECASE)
"""An arrow, `->`, can begin or end nothing."""
_START = re.compile(r"^(\d*)([-+=.)])(?=\s|$)")
_UNBROKEN = frozenset("&<>`*_[]\\|~")


def code(text: str, cells: int = NAME_CELLS) -> str:
    """A name or an answer as code, at most `cells` wide.

    As HTML with character references, because backquotes cannot hold every text inside a table.
    """
    return f"<code>{_inert(_cut(text, cells)) or '&quot;&quot;'}</code>"


def prose(text: str) -> str:
    """A sentence that may quote names, without any markup."""
    return _inert(_cut(text, _SENTENCE_CELLS))


def line(text: str) -> str:
    """A sentence at the start of a line, where `1.`, `-` or `=` would begin a list or make a heading."""
    return _START.sub(lambda found: f"{found[1]}&#{ord(found[2])};", prose(text))


def _cut(text: str, cells: int) -> str:
    known = text[: 4 * _CHARACTERS_A_CELL * cells].encode("utf-8", "ignore").decode()  # without lone surrogates
    return shorten(one_line(known)[: _CHARACTERS_A_CELL * cells], cells)


def _inert(text: str) -> str:
    return _ACTIVE.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    found = match[0]
    inert = found if found.isalpha() or found == "@" else f"&#{ord(found)};"
    return inert if found in _UNBROKEN else inert + _BREAK


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: Iterable[bool]) -> str:
    """A table of ready cells; `left` says of each column whether it stands to the left, else to the right."""
    rule = [":--" if is_left else "--:" for is_left in left]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def details(title: str, body: str) -> str:
    """A part that opens on a click. The empty lines make GitHub read the body as Markdown."""
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def within_limit(blocks: Iterable[str], say: Words) -> str:
    """The blocks, most important first, as far as GitHub takes them; what does not fit is left out and said."""
    kept: list[str] = []
    room, shortened = MOST_CHARACTERS, False
    for block in filter(None, blocks):
        fits = len(block) + 2 <= room
        shortened |= not fits
        if fits:
            kept.append(block)
            room -= len(block) + 2
    said = say("Shortened: the whole report is in the run's own files.")
    return "\n\n".join([*kept, *([f"_{said}_"] if shortened else [])]) + "\n"
