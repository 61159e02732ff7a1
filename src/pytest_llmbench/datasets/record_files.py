"""Records of JSON Lines, CSV and JSON files, one at a time: a file of any size is read with bounded memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pytest_llmbench.core.csv_files import holds_messages, json_cell, read_table
from pytest_llmbench.core.documents import MOST_FAULTS, Faults, parse_record, read_yaml, without_nulls
from pytest_llmbench.core.errors import UsageError, located

LONGEST_LINE = 8 * 2**20
"""Bytes. A longer line is no row but a file without line ends, and reading it whole would fill the memory."""

LARGEST_JSON = 64 * 2**20
"""Bytes of a `.json` file, which has to be read whole."""

_LONE_RETURN = re.compile(r"(?<=\r)(?!\n)")  # ends a line in old CSV of Excel for the Mac
_MESSAGES = ("messages", "conversations")
_TEXT_OR_MESSAGES = ("prompt", "completion")
_TEXT_OR_JSON = ("metadata", "history")
_JSON = re.compile(r"""\s*(\{\s*["}]|\[\s*["\[{\]])""")  # not as Python writes it, nor text that opens with a bracket
_LIST = re.compile(r"""\s*\[\s*($|\{(?!\s*"(role|from|content|value)"))""")  # of rows, not of messages
_SHOWN_PROGRESS = 1000  # lines between two reports of progress

Progress = Callable[[int], None]
"""Told now and then how many bytes were read so far."""

OnProgress = Callable[[str, int, int | None], None]
"""Told now and then what is being done, how much of it is done, and of how much, where that is known."""

_SHOWN = 1000  # rows between two reports

T = TypeVar("T")


def no_progress(_bytes: int) -> None:
    """Tell nobody."""


def read_records(
    path: Path | str, faults: Faults | None = None, progress: Progress = no_progress
) -> Iterator[tuple[int, Any]]:
    """Each record of a `.jsonl`, `.csv` or `.json` file (a list of objects), with the line it starts on.

    Keys without a value are left out, at any depth: Arrow, and so `datasets`, gives each record all keys of the file.
    What is no JSON goes to `faults` where they are collected, so that several are told at once.

    Raises:
        UsageError: the file cannot be read, is not UTF-8, or has another kind; with the line.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        how = _CONVERTED.get(path.suffix.lower(), "convert it or give it that ending")
        raise UsageError(f"{path}: rows are read from {', '.join(_READERS)} files; {how}")
    try:
        yield from reader(path, faults, progress)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _lines(path: Path, progress: Progress) -> Iterator[tuple[int, str]]:
    number = 0
    with path.open("rb") as file:
        while data := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(data) > LONGEST_LINE:
                what = f"the line is longer than {LONGEST_LINE // 2**20} MiB; give each row a line of its own"
                raise UsageError(located(path, number, what))
            if number % _SHOWN_PROGRESS == 0:
                progress(file.tell())
            yield number, _decoded(data, path, number)
        progress(file.tell())


def _decoded(data: bytes, path: Path, number: int) -> str:
    if number == 1:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UsageError(located(path, 1, "the file is UTF-16; save it as UTF-8"))
        data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        what = f"byte {data[error.start]:#x} is not UTF-8; save it as UTF-8 (iconv -f latin1 -t utf-8)"
        raise UsageError(located(path, number, what)) from error
    if "\0" in text:
        raise UsageError(located(path, number, "control character '\\x00'; this is not a UTF-8 text file"))
    return text


def _jsonl(path: Path, faults: Faults | None, progress: Progress) -> Iterator[tuple[int, Any]]:
    begun, wrong = False, 0
    for number, line in _lines(path, progress):
        if line.isspace():
            continue
        if not begun and _LIST.match(line):
            what = "a JSON list, where .jsonl has an object a line; name the file .json, or convert it (jq -c '.[]')"
            raise UsageError(located(path, number, what))
        begun = True
        try:
            record = parse_record(line.rstrip("\r\n"), path, number)
        except UsageError as error:
            if faults is None:
                raise
            faults.add(str(error))
            wrong += 1
            if wrong == MOST_FAULTS:  # a wrong file of a gigabyte need not be read to its end
                faults.raise_any()
            continue
        yield number, record


def _csv(path: Path, _faults: Faults | None, progress: Progress) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = (part for _, text in _lines(path, progress) for part in _LONE_RETURN.split(text) if part)
    for line, cells in read_table(path, lines).rows:
        row: dict[str, Any] = cells
        for name, cell in cells.items():
            if _is_json(name, cell):
                row[name] = without_nulls(json_cell(cell, path, line))
        yield line, row


def _is_json(column: str, cell: str) -> bool:
    if column in _TEXT_OR_JSON:
        return _JSON.match(cell) is not None
    return column in _MESSAGES or (column in _TEXT_OR_MESSAGES and holds_messages(cell))


def _json(path: Path, faults: Faults | None, progress: Progress) -> Iterator[tuple[int, Any]]:
    if _is_json_lines(path):
        yield from _jsonl(path, faults, progress)
        return
    size = path.stat().st_size
    if size > LARGEST_JSON:
        what = f"{size / 2**20:.0f} MiB of JSON would have to be read whole; convert it to JSON Lines (jq -c '.[]')"
        raise UsageError(f"{path}: {what}")
    document = read_yaml(path, nan_is_null=True)
    progress(size)
    if document.data is None:
        return
    if not isinstance(document.data, list):
        raise UsageError(
            located(path, 1, "a JSON file of rows is a list of objects; put them in [ ] (of pandas: orient='records')")
        )
    for index, record in enumerate(document.data):
        yield document.line(index), without_nulls(record)


def _is_json_lines(path: Path) -> bool:
    """Whether a `.json` file has one object a line, as `Dataset.to_json` and Spark write whatever the name's ending."""
    with path.open("rb") as file:
        written = (line for line in iter(lambda: file.readline(LONGEST_LINE), b"") if not line.isspace())
        first, second = next(written, b"").removeprefix(codecs.BOM_UTF8), next(written, b"")
    return second.startswith(b"{") and first.startswith(b"{") and first.rstrip().endswith(b"}")


_READERS: Mapping[str, Callable[[Path, Faults | None, Progress], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".json": _json,
}

_CONVERTED: Mapping[str, str] = {
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip"), "unpack it first"),
    ".parquet": "convert it: datasets.Dataset.from_parquet('it.parquet').to_json('it.jsonl')",
    ".arrow": "convert it: datasets.Dataset.from_file('it.arrow').to_json('it.jsonl')",
}


def reading(path: Path, on_progress: OnProgress, what: str = "reading") -> Progress:
    """What is to be told how many bytes of a file were read."""
    size = path.stat().st_size if path.is_file() else None
    return lambda done: on_progress(what, done, size)


def counted(rows: Sequence[T], on_progress: OnProgress, what: str) -> Iterator[T]:
    """The rows one by one; it is told how many were taken."""
    for number, row in enumerate(rows):
        if number % _SHOWN == 0:
            on_progress(what, number, len(rows))
        yield row
    on_progress(what, len(rows), len(rows))
