"""The files that cases are written in: suites of YAML and JSON, tables of JSON Lines and CSV, and those of BFCL."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.bfcl import bfcl_rows, is_bfcl
from pytest_llmbench.cases.case import Case
from pytest_llmbench.cases.case_list import JoinedCases, StoredCases
from pytest_llmbench.cases.suite_file import SuiteFile, built, row_of, set_value
from pytest_llmbench.cases.validation import CASE_CHECKS, HEADING_CHECKS, ROW_CHECKS, SUITE_CHECKS, key_faults
from pytest_llmbench.cases.vocabulary import Vocabulary, load_vocabulary
from pytest_llmbench.core.csv_files import json_cell, read_table
from pytest_llmbench.core.documents import Faults, read_lines, read_text, read_yaml, suggestion
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.starter import PROMPTS, VOCABULARY_FILE

__all__ = ["Case", "Vocabulary", "existing_suites", "load_cases", "load_vocabulary", "read_cases"]


_MOST_BYTES_KEPT = 8_000_000
"""Of a `.jsonl` file whose cases are kept in memory: some 50,000 short cases."""
_CASES = re.compile(rb"""(?m)(^|[{,]|\xef\xbb\xbf)\s*["']?cases["']?\s*:""")
_KEYWORD_SEPARATOR = re.compile(r"[;|]")


def load_cases(paths: Iterable[Path | str], vocabulary: Vocabulary | None = None) -> list[Case]:
    """All cases of `read_cases`, in memory. Raises UsageError as that does."""
    return list(read_cases(paths, vocabulary))


def read_cases(paths: Iterable[Path | str], vocabulary: Vocabulary | None = None) -> Sequence[Case]:
    """The cases of suites (`.yaml`, `.yml`, `.json`), `.jsonl` and `.csv` files, and of folders of these.

    The order is that of `paths`, by name inside a folder, as written inside a file. A file given twice is read once.
    `vocabulary` says which tools exist; without one a case cannot name a tool. All are checked now; those of a `.jsonl`
    file of more than 8 MB are read again when they are asked for.

    Raises:
        UsageError: anything is wrong; one `file:line: ...` for each fault, of all files together.
    """
    faults = Faults()
    found = [file for path in paths for file in _files(Path(path), vocabulary, faults)]
    owners: dict[str, Path] = {}
    read: list[Sequence[Case]] = []
    for path in {path.resolve(): path for path in found}.values():
        file = SuiteFile(path, vocabulary, faults)
        try:
            _reader(path)(file)
        except UsageError as error:
            faults.add(str(error))
        for category, line in file.categories.items():
            if category in owners:
                faults.at(
                    path, line, f"category '{category}' is already in {owners[category]}; give one of them another name"
                )
            owners[category] = path
        file.forget_lines()
        read.append(file.cases)
    faults.raise_any()
    if not any(read):
        raise UsageError("no prompts were given; name a suite, a .jsonl or .csv file, or a folder of them")
    if any(isinstance(part, StoredCases) for part in read):
        return JoinedCases(read)
    return [case for part in read for case in part]


def existing_suites(prompts: Iterable[Path]) -> tuple[Path, ...]:
    """The suites of the settings, `benchmark.prompts`, without their default where that holds none."""
    return tuple(path for path in prompts if path != PROMPTS or _holds_suites(path))


def _holds_suites(folder: Path) -> bool:
    """Whether there is such a folder, with files that cases are read from; YAML and JSON of other tools are none."""
    return folder.is_dir() and any(_is_suite(file, None) and _may_have_cases(file) for file in folder.iterdir())


def _may_have_cases(file: Path) -> bool:
    if _reader(file) is not _read_suite:
        return True
    try:
        return _CASES.search(file.read_bytes()) is not None
    except OSError:
        return True  # which is told when it is read


def _files(path: Path, vocabulary: Vocabulary | None, faults: Faults) -> list[Path]:
    """The files that `path` stands for; a fault, and none, when it stands for nothing."""
    accepted = ", ".join(_READERS)
    if path.is_dir():
        found = [file for file in sorted(path.iterdir()) if _is_suite(file, vocabulary)]
        if not found:
            faults.add(f"{path}: this folder holds no suite ({accepted})")
        return found
    if not path.exists():
        faults.add(f"{path}: no such file or folder; cases are read from {accepted} files and folders of these")
    elif path.suffix.lower() not in _READERS:
        faults.add(f"{path}: '{path.suffix}' is not a kind of file that cases are read from; give {accepted}")
    else:
        return [path]
    return []


def _is_suite(file: Path, vocabulary: Vocabulary | None) -> bool:
    if file.suffix.lower() not in _READERS or file.name.startswith(".") or file.name == VOCABULARY_FILE:
        return False
    return not (vocabulary and vocabulary.path and file.resolve() == vocabulary.path.resolve())


def _read_suite(file: SuiteFile) -> None:
    document = read_yaml(file.path)
    data = document.data
    if type(data) is not dict:
        raise UsageError(located(file.path, 1, "a suite is a mapping with the keys 'category' and 'cases'"))
    faults = key_faults(data, SUITE_CHECKS)
    for where, message in faults:
        file.faults.at(file.path, document.line(*where), message)
    for key in ("category", "cases"):
        if key not in data:
            file.faults.at(file.path, 1, f"the suite needs '{key}'")
    file.checks = CASE_CHECKS
    right = (data.keys() & HEADING_CHECKS) - {where[0] for where, _ in faults}  # what is wrong is told once
    file.heading = {"category": file.path.stem, **{key: data[key] for key in HEADING_CHECKS if key in right}}
    file.categories[str(file.heading["category"])] = document.line("category")
    cases = data.get("cases")
    for index, row in enumerate(cases if type(cases) is list else ()):
        line = document.line("cases", index)
        for where, message in file.add(row, line) if type(row) is dict else [((), f"not a case: {row!r:.40}")]:
            file.faults.at(file.path, document.line("cases", index, *where), message)


def _read_jsonl(file: SuiteFile) -> None:
    """A case a line. The first line may be the suite's head instead: its category, language, system prompt, tools."""
    first = empty = file.is_table = True
    for number, line in _lines(file):
        if not line or line.isspace():
            continue
        try:
            row = row_of(line, file.path, number)
            if first and _take_head(file, row, number):
                continue
            empty = False
            _add_row(file, row, number)
        except UsageError as error:
            empty = False
            file.faults.add(str(error))
        finally:
            first = False
    if empty:
        raise UsageError(located(file.path, 1, "the file holds no case"))


def _lines(file: SuiteFile) -> Iterator[tuple[int, str]]:
    """Number and text of each line. The cases of a large file are not kept."""
    if file.path.stat().st_size <= _MOST_BYTES_KEPT:
        yield from enumerate(read_text(file.path).split("\n"), start=1)
        return
    file.cases = StoredCases(file.path, file.again)
    for number, (offset, line) in enumerate(read_lines(file.path), start=1):
        file.offset = offset
        yield number, line


def _take_head(file: SuiteFile, row: Any, line: int) -> bool:
    """Whether a row is a suite's head, which says what all cases have in common; they cannot differ in it then."""
    if type(row) is not dict or not row or not row.keys() <= {*HEADING_CHECKS, "$schema"}:
        return False
    faults = key_faults(row, {key: SUITE_CHECKS[key] for key in row})
    for _, message in faults:
        file.faults.at(file.path, line, message)
    wrong = {where[0] for where, _ in faults}  # told once, not once a case
    file.heading |= {key: value for key, value in row.items() if key in HEADING_CHECKS and key not in wrong}
    if "category" in wrong:
        file.heading["category"] = file.path.stem
    file.checks = CASE_CHECKS
    return True


def _add_row(file: SuiteFile, row: Any, line: int) -> None:
    """Take a row of a table: it carries its own heading."""
    if type(row) is not dict:
        raise UsageError(located(file.path, line, f"a case is an object with at least 'prompt', not {row!r:.40}"))
    file.heading["id"] = line
    for _, message in file.add(row, line):
        file.faults.at(file.path, line, message)


def _read_csv(file: SuiteFile) -> None:
    table = read_table(file.path, io.StringIO(read_text(file.path)))
    for column in table.columns:
        if column not in ROW_CHECKS:
            what = f"unknown column '{column:.40}' in the header; {suggestion(column, ROW_CHECKS)}"
            raise UsageError(located(file.path, table.line, what))
    empty = file.is_table = True
    for number, cells in table.rows:
        empty = False
        try:
            _add_row(file, _csv_row(file.path, number, cells), number)
        except UsageError as error:
            file.faults.add(str(error))
    if empty:
        what = "the file holds no case; below a header it has one case a line"
        raise UsageError(located(file.path, table.line, what))


def _csv_row(path: Path, line: int, cells: Mapping[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(cells)
    if "keywords" in row:
        row["keywords"] = [word.strip() for word in _KEYWORD_SEPARATOR.split(row["keywords"]) if word.strip()]
    for key in row.keys() & {"messages", "expect", "tools", "calls"}:
        row[key] = set_value(key, json_cell(row[key], path, line))
    return row


def _read_bfcl(file: SuiteFile) -> None:
    if "category" not in file.heading:
        told = f"the file's name '{file.path.stem}' is none of BFCL's; give it the one it had, such as BFCL_v4_multiple"
        raise UsageError(located(file.path, 1, told))
    file.categories[str(file.heading["category"])] = 1
    for line, row, tools, calls in bfcl_rows(file.path):
        case = built({**file.heading, **row}, f"{file.path}:{line}")
        for _, message in file.take(dataclasses.replace(case, tools=tools, calls=calls, language="en"), line):
            file.faults.at(file.path, line, message)


def _reader(path: Path) -> Callable[[SuiteFile], None]:
    return _read_bfcl if is_bfcl(path) else _READERS[path.suffix.lower()]


_READERS: Mapping[str, Callable[[SuiteFile], None]] = {
    ".yaml": _read_suite,
    ".yml": _read_suite,
    ".json": _read_suite,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
}
