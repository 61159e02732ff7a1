"""What one file of cases gives: its rows are checked with its heading and the vocabulary, and made cases."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.case import Case
from pytest_llmbench.cases.case_list import StoredCases
from pytest_llmbench.cases.tool_validation import Fault, calls_fault, calls_faults, unpadded_calls
from pytest_llmbench.cases.tools import CHOICES, Tool, as_openai, expected_calls, name_of
from pytest_llmbench.cases.validation import IDENTIFIER, ROW_CHECKS, key_faults
from pytest_llmbench.cases.vocabulary import Vocabulary
from pytest_llmbench.core.documents import Faults, parse_with_nulls, suggestion, without_nulls

_MAY_BE_NULL = frozenset(("default", "const"))


class SuiteFile:
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
        whole: Mapping[str, Any] = {**self.heading, **row}
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
        whole = {**self.heading, "id": line, **row_of(text, self.path, line)}
        tools, _ = self._tools_of(whole)
        return self._case(self._unpadded(whole, tools), tools, line)

    def _unpadded(self, whole: Mapping[str, Any], tools: Sequence[Tool]) -> Mapping[str, Any]:
        if not self.is_table or not isinstance(whole.get("calls"), list):
            return whole
        return {**whole, "calls": unpadded_calls(whole["calls"], tools)}

    def _case(self, whole: Mapping[str, Any], tools: tuple[Tool, ...], line: int) -> Case:
        calls = expected_calls(whole.get("calls"), tools)
        return dataclasses.replace(built(whole, f"{self._name}:{line}"), tools=tools, calls=calls)

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


def built(row: Mapping[str, Any], source: str) -> Case:
    """The case of a whole row, without its tools and calls; `source` is the `file:line` where it is written."""
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


def row_of(text: str, path: Path, line: int) -> Any:
    """A case or a head, without the keys that Arrow and pandas fill up with null or NaN.

    Raises:
        UsageError: it is not JSON, or has a key twice.
    """
    row = parse_with_nulls(text, path, line)
    if type(row) is not dict or not ("null" in text or "NaN" in text):
        return row
    return {key: set_value(key, value) for key, value in row.items() if value is not None}


def set_value(key: str, value: Any) -> Any:
    """A key's value without keys that are null, unless null is a value there: of an argument, or a schema's default."""
    if key == "calls" and isinstance(value, list):
        return [
            {name: inner for name, inner in call.items() if inner is not None} if isinstance(call, dict) else call
            for call in value
        ]
    return without_nulls(value, _MAY_BE_NULL if key == "tools" else ())
