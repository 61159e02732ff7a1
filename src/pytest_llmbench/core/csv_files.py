"""CSV as spreadsheets, pandas and `datasets` write it: records by the names of their columns, with their lines."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmbench.core.documents import parse_with_nulls
from pytest_llmbench.core.errors import UsageError, located

DELIMITERS = ",;\t|"

LONGEST_CELL = 8 * 2**20
"""Characters. Python's own limit of 131,072 would refuse rows that are read from JSON Lines."""

_SEP_LINE = re.compile(r'"?sep=(?P<delimiter>\\t|.)?"?[,;\t|]*', re.IGNORECASE)  # Excel's, above the header
_QUOTED = re.compile(r'"[^"]*"')
_UNNAMED = re.compile(r"(Unnamed: \d+)?")  # as pandas calls a column without a name
_MESSAGES = re.compile(r"""\s*\[\s*\{\s*['"](role|from|content|value)['"]""")
_PYTHON_LIST = re.compile(r"\s*\[\s*\{\s*'")


class CsvTable(NamedTuple):
    """`columns` are the names in the header, which stands on `line`; each row comes with the line it starts on.

    Blank cells, blank rows and columns without a name are left out.
    """

    line: int
    columns: list[str]
    rows: Iterator[tuple[int, dict[str, str]]]


def read_table(path: Path, lines: Iterable[str]) -> CsvTable:
    """The table whose lines these are, line ends included; read as its rows are asked for.

    Commas, semicolons, tabs or bars part the cells, as a `sep=` line says or whichever the header has most.

    Raises:
        UsageError: the header names a column twice, or, while rows are read, a row does not fit it or is no CSV.
    """
    rest = iter(lines)
    above, header, delimiter = _beginning(path, rest)
    if not header:
        return CsvTable(1, [], iter(()))
    reader = csv.reader(itertools.chain([header], rest), delimiter=delimiter, strict=True)
    records = _records(path, reader, above)
    line, cells = next(records)
    columns = ["" if _UNNAMED.fullmatch(name) else name for name in map(str.strip, cells)]
    named = [name for name in columns if name]
    if len(set(named)) < len(named):
        raise UsageError(located(path, line, f"the header names a column twice: {', '.join(named)}"))
    return CsvTable(line, named, ((line, _by_name(path, line, columns, cells)) for line, cells in records))


def json_cell(cell: str, path: Path, line: int) -> Any:
    """The value of a cell that holds JSON.

    Raises:
        UsageError: it does not, which is what `datasets` and pandas make of lists.
    """
    if _PYTHON_LIST.match(cell):
        what = "a list of messages written as Python text, as to_csv of datasets and pandas does; use to_json"
        raise UsageError(located(path, line, what))
    return parse_with_nulls(cell, path, line)


def holds_messages(cell: str) -> bool:
    """Whether a cell is a list of messages rather than text."""
    return _MESSAGES.match(cell) is not None


def _beginning(path: Path, lines: Iterator[str]) -> tuple[int, str, str]:
    """How many lines stand above the header, the header's (first) line, and the delimiter."""
    told = None
    for number, line in enumerate(lines):
        if line.isspace():
            continue
        named = _SEP_LINE.fullmatch(line.rstrip("\r\n")) if told is None else None
        if named is None:
            return number, line, told or _delimiter(line)
        told = (named["delimiter"] or "").replace("\\t", "\t")
        if told not in DELIMITERS or not told:
            what = f"the line says that {told!r} parts the cells; they are parted by , ; | or tab"
            raise UsageError(located(path, number + 1, what))
    return 0, "", ","


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=_QUOTED.sub("", header).count)


def _records(path: Path, reader: Any, above: int) -> Iterator[tuple[int, list[str]]]:
    """Each record that is not blank, with the line it starts on."""
    started = above + 1
    while True:
        usual = csv.field_size_limit(LONGEST_CELL)  # of the whole process: put back before anyone else reads
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            too_long = "field larger" in str(error)
            told = f"a cell is longer than {LONGEST_CELL // 2**20} MiB; is a quote not closed?" if too_long else error
            raise UsageError(located(path, started, f"not valid CSV: {told}")) from error
        finally:
            csv.field_size_limit(usual)
        if any(cell and not cell.isspace() for cell in cells):
            yield started, cells
        started = above + reader.line_num + 1


def _by_name(path: Path, line: int, columns: list[str], cells: list[str]) -> dict[str, str]:
    """The cells that are not blank. What stands under no name is blank or counts the rows, as the index of pandas."""
    if any(columns[len(cells) :]) or any(cell.strip() for cell in cells[len(columns) :]):
        raise UsageError(
            located(path, line, f"has {len(cells)} cell{'s' * (len(cells) != 1)} where the header has {len(columns)}")
        )
    row: dict[str, str] = {}
    for place, (name, cell) in enumerate(zip(columns, cells, strict=False)):
        if not cell or cell.isspace():
            continue
        if name:
            row[name] = cell
        elif place and not cell.strip().isdigit():
            what = f"cell {place + 1} ({cell.strip()!r:.40}) stands in a column without a name; name it in the header"
            raise UsageError(located(path, line, what))
    return row
