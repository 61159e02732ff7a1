"""Cases and the vocabulary they are judged by: what a person writes down to say what a good answer is."""

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
from pytest_llmbench.cases.tool_validation import Fault, calls_fault, calls_faults, unpadded_calls
from pytest_llmbench.cases.tools import CHOICES, Tool, as_openai, expected_calls, name_of
from pytest_llmbench.cases.validation import (
    CASE_CHECKS,
    HEADING_CHECKS,
    IDENTIFIER,
    ROW_CHECKS,
    SUITE_CHECKS,
    VOCABULARY_CHECKS,
    key_faults,
    vocabulary_tool,
)
from pytest_llmbench.core.csv_files import json_cell, read_table
from pytest_llmbench.core.documents import (
    Faults,
    parse_with_nulls,
    read_lines,
    read_text,
    read_yaml,
    suggestion,
    without_nulls,
)
from pytest_llmbench.core.errors import UsageError, located
from pytest_llmbench.core.starter import VOCABULARY_FILE

__all__ = ["Case", "Vocabulary", "holds_suites", "load_cases", "load_vocabulary", "read_cases"]


@dataclasses.dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tools a case may be routed to, and the terms that tell of each, where it has any.

    `schemas` are those of the tools that have a description or parameters: every case gives them to the model, unless
    it brings `tools` of its own.
    """

    tools: Mapping[str, tuple[str, ...]]
    language: str | None = None
    path: Path | None = None
    schemas: tuple[Tool, ...] = ()

    def about(self, tool: str) -> Sequence[str]:
        """What tells of a tool: its terms, or where it has none, its description."""
        described = (one["function"].get("description") for one in self.schemas if name_of(one) == tool)
        return self.tools[tool] or [told for told in described if told]


_MOST_BYTES_KEPT = 8_000_000
"""Of a `.jsonl` file whose cases are kept in memory: some 50,000 short cases."""
_MAY_BE_NULL = frozenset(("default", "const"))
_KEYWORD_SEPARATOR = re.compile(r"[;|]")


def load_vocabulary(path: Path | str) -> Vocabulary:
    """Read the tools and their terms (`language: fr`, `tools: {volume_up: [son, volume]}`).

    A tool may be a mapping of `terms`, `description` and `parameters`, and `tools` a list of tools in OpenAI's form.

    Raises:
        UsageError: the file is unreadable or wrong; one `file:line: ...` for each fault.
    """
    document = read_yaml(path)
    faults = Faults()
    data = document.data if isinstance(document.data, dict) else {}
    for where, message in key_faults(data, VOCABULARY_CHECKS):
        faults.at(document.path, document.line(*where), message)
    tools = data.get("tools")
    if "tools" not in data:
        faults.at(document.path, 1, "a vocabulary needs 'tools': a name for each tool, with the list of its terms")
    for tool, given in tools.items() if isinstance(tools, dict) else ():
        if fault := vocabulary_tool(tool, given):
            faults.at(document.path, document.line("tools", tool, *fault[0]), f"tool '{tool}': {fault[1]}")
    faults.raise_any()
    return _vocabulary(data, document.path)


def _vocabulary(data: Mapping[str, Any], path: Path) -> Vocabulary:
    if isinstance(data["tools"], list):
        schemas = tuple(as_openai(tool) for tool in data["tools"])
        return Vocabulary({name_of(tool): () for tool in schemas}, data.get("language"), path, schemas)
    functions = {name: given for name, given in data["tools"].items() if isinstance(given, dict)}
    described = {
        name: {key: value for key, value in given.items() if key != "terms"} for name, given in functions.items()
    }
    return Vocabulary(
        {name: tuple(given.get("terms", ()) if name in functions else given) for name, given in data["tools"].items()},
        data.get("language"),
        path,
        tuple(as_openai({"name": name, **given}) for name, given in described.items() if given),
    )


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
        file = _File(path, vocabulary, faults)
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


def holds_suites(folder: Path) -> bool:
    """Whether there is such a folder, with files that cases are read from."""
    return folder.is_dir() and any(_is_suite(file, None) for file in folder.iterdir())


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


class _File:
    """What one file gave so far. `heading` stands for keys that a case leaves out, `checks` knows those it may have.

    A file that `is_table` may have gone through Arrow, which gives every mapping the keys of all others, as null.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary | None, faults: Faults) -> None:
        self.path = path
        self.faults = faults
        self.cases: list[Case] | StoredCases = []
        self.offset = 0
        self.categories: dict[str, int] = {}
        self.checks = ROW_CHECKS
        self.is_table = False
        self.heading: dict[str, Any] = {"category": path.stem} if IDENTIFIER.fullmatch(path.stem) else {}
        self._name = str(path)
        self._vocabulary = vocabulary
        self._lines: dict[str, int] = {}

    def add(self, row: Mapping[str, Any], line: int) -> list[Fault]:
        """Take one case, or say what is wrong with it, by key path."""
        whole = {**self.heading, **row}
        faults = key_faults(row, self.checks)
        tools, unknown = self._tools_of(whole) if not faults else ((), [])
        whole = whole if faults else self._unpadded(whole, tools)
        faults += unknown + self._check_whole(whole, tools)
        if faults:
            return faults
        return self.take(self._case(whole, tools, line), line)

    def take(self, case: Case, line: int) -> list[Fault]:
        """Take a case that is whole, unless its name is taken."""
        name = case.name
        if name in self._lines:
            return [(("id",), f"the id '{case.id}' is already taken on line {self._lines[name]}")]
        self._lines[name] = line
        self.categories.setdefault(case.category, line)
        if isinstance(self.cases, StoredCases):
            self.cases.note(self.offset, line, case.category)
        else:
            self.cases.append(case)
        return []

    def forget_lines(self) -> None:
        """Every case is taken."""
        self._lines.clear()

    def again(self, text: str, line: int) -> Case:
        """The case of a line that was right when it was taken."""
        whole = {**self.heading, "id": line, **_row(text, self.path, line)}
        tools, _ = self._tools_of(whole)
        return self._case(self._unpadded(whole, tools), tools, line)

    def _unpadded(self, whole: Mapping[str, Any], tools: Sequence[Tool]) -> Mapping[str, Any]:
        if not self.is_table or not isinstance(whole.get("calls"), list):
            return whole
        return {**whole, "calls": unpadded_calls(whole["calls"], tools)}

    def _case(self, whole: Mapping[str, Any], tools: tuple[Tool, ...], line: int) -> Case:
        calls = expected_calls(whole.get("calls"), tools)
        return dataclasses.replace(_build(whole, f"{self._name}:{line}"), tools=tools, calls=calls)

    def _check_whole(self, row: Mapping[str, Any], tools: Sequence[Tool]) -> list[Fault]:
        faults: list[Fault] = []
        if "id" not in row:
            faults.append(((), "needs 'id'"))
        if "category" not in row:
            faults.append(((), f"needs 'category', since the file's name '{self.path.stem}' cannot be one"))
        if ("prompt" in row) == ("messages" in row):
            faults.append(((), "needs either 'prompt' or 'messages'" + (", not both" if "prompt" in row else "")))
        return faults + self._check_tools(row, tools)

    def _check_tools(self, row: Mapping[str, Any], tools: Sequence[Tool]) -> list[Fault]:
        """What is wrong with the names that the case expects, or wants called."""
        named = [name_of(one) for one in tools]
        faults: list[Fault] = []
        if calls_fault(row.get("calls", [])) is None:
            faults += calls_faults(row.get("calls"), tools) if tools else self._unknown_calls(row.get("calls"))
        choice = row.get("tool_choice")
        if isinstance(choice, str) and choice not in (*CHOICES, *named):
            what = f"tool_choice: '{choice}' is unknown; {suggestion(choice, (*CHOICES, *named))}"
            faults.append((("tool_choice",), what))
        tool = row.get("tool")
        if type(tool) is not str or tool in named:
            return faults
        if self._vocabulary is None:
            faults.append((("tool",), f"tool: '{tool}' cannot be checked without a vocabulary (benchmark.vocabulary)"))
        elif tool not in self._vocabulary.tools:
            known = dict.fromkeys([*named, *self._vocabulary.tools])
            faults.append((("tool",), f"tool: '{tool}' is unknown; {suggestion(tool, known)}"))
        return faults

    def _unknown_calls(self, calls: Any) -> list[Fault]:
        """Calls of a model that is given no tools, and has learnt those of the vocabulary."""
        known = self._vocabulary.tools if self._vocabulary else {}
        told = "calls: call {}: {!r} is no tool of the case or the vocabulary; {}"
        return [
            (("calls", index, "name"), told.format(index + 1, call["name"], suggestion(call["name"], known)))
            for index, call in enumerate(calls if isinstance(calls, list) and known else ())
            if call["name"] not in known
        ]

    def _tools_of(self, row: Mapping[str, Any]) -> tuple[tuple[Tool, ...], list[Fault]]:
        """The tools that the model is given with a case, its own or the vocabulary's, and what is wrong with them."""
        schemas = self._vocabulary.schemas if self._vocabulary else ()
        if "tools" not in row:
            return schemas, []
        by_name = {name_of(tool): tool for tool in schemas}
        found: list[Tool] = []
        faults: list[Fault] = []
        for index, tool in enumerate(row["tools"]):
            if not isinstance(tool, str):
                found.append(as_openai(tool))
            elif tool in by_name:
                found.append(by_name[tool])
            else:
                near = suggestion(tool, by_name) if by_name else "the vocabulary has none with parameters"
                faults.append((("tools", index), f"tools: '{tool}' is no tool of the vocabulary; {near}"))
        return tuple(found), faults


def _build(row: Mapping[str, Any], source: str) -> Case:
    turns = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
    if "system" in row and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": row["system"]}, *turns]
    return Case(
        category=str(row["category"]),
        id=str(row["id"]),
        prompt=turns[-1]["content"],
        messages=tuple(turns),
        keywords=tuple(row.get("keywords", ())),
        tool=row.get("tool"),
        reference=row.get("reference"),
        expect=row.get("expect", {}),
        group=str(row["group"]) if "group" in row else None,
        language=row.get("language"),
        source=source,
        tool_choice=row.get("tool_choice"),
    )


def _read_suite(file: _File) -> None:
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


def _read_jsonl(file: _File) -> None:
    """A case a line. The first line may be the suite's head instead: its category, language, system prompt, tools."""
    first = empty = file.is_table = True
    for number, line in _lines(file):
        if not line or line.isspace():
            continue
        try:
            row = _row(line, file.path, number)
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


def _row(text: str, path: Path, line: int) -> Any:
    """A case or a head, without the keys that Arrow and pandas fill up with null or NaN."""
    row = parse_with_nulls(text, path, line)
    if type(row) is not dict or not ("null" in text or "NaN" in text):
        return row
    return {key: _set(key, value) for key, value in row.items() if value is not None}


def _set(key: str, value: Any) -> Any:
    """A key's value without keys that are null, unless null is a value there: of an argument, or a schema's default."""
    if key == "calls" and isinstance(value, list):
        return [
            {name: inner for name, inner in call.items() if inner is not None} if isinstance(call, dict) else call
            for call in value
        ]
    return without_nulls(value, _MAY_BE_NULL if key == "tools" else ())


def _lines(file: _File) -> Iterator[tuple[int, str]]:
    """Number and text of each line. The cases of a large file are not kept."""
    if file.path.stat().st_size <= _MOST_BYTES_KEPT:
        yield from enumerate(read_text(file.path).split("\n"), start=1)
        return
    file.cases = StoredCases(file.path, file.again)
    for number, (offset, line) in enumerate(read_lines(file.path), start=1):
        file.offset = offset
        yield number, line


def _take_head(file: _File, row: Any, line: int) -> bool:
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


def _add_row(file: _File, row: Any, line: int) -> None:
    """Take a row of a table: it carries its own heading."""
    if type(row) is not dict:
        raise UsageError(located(file.path, line, f"a case is an object with at least 'prompt', not {row!r:.40}"))
    file.heading["id"] = line
    for _, message in file.add(row, line):
        file.faults.at(file.path, line, message)


def _read_csv(file: _File) -> None:
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
        row[key] = _set(key, json_cell(row[key], path, line))
    return row


def _read_bfcl(file: _File) -> None:
    if "category" not in file.heading:
        told = f"the file's name '{file.path.stem}' is none of BFCL's; give it the one it had, such as BFCL_v4_multiple"
        raise UsageError(located(file.path, 1, told))
    file.categories[str(file.heading["category"])] = 1
    for line, row, tools, calls in bfcl_rows(file.path):
        case = _build({**file.heading, **row}, f"{file.path}:{line}")
        for _, message in file.take(dataclasses.replace(case, tools=tools, calls=calls, language="en"), line):
            file.faults.at(file.path, line, message)


def _reader(path: Path) -> Callable[[_File], None]:
    return _read_bfcl if is_bfcl(path) else _READERS[path.suffix.lower()]


_READERS: Mapping[str, Callable[[_File], None]] = {
    ".yaml": _read_suite,
    ".yml": _read_suite,
    ".json": _read_suite,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
}
