"""The files of the Berkeley Function Calling Leaderboard as cases: questions, tools, and the calls that are right.

The tools are told as BFCL tells models that are given tools: names without dots, JSON schema's types, and a hint at the
language. The calls are judged by BFCL's rules, on the types that its files have.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmbench.cases.tools import Dialect, ExpectedCall, ExpectedCalls, Tool
from pytest_llmbench.cases.validation import IDENTIFIER
from pytest_llmbench.core.documents import parse_json, read_text
from pytest_llmbench.core.errors import UsageError, located

ANSWERS = "possible_answer"
"""The folder beside the questions that holds the right calls."""

_LONGEST_LINE = 2**20
_KEYS = frozenset(("id", "question"))
_EXECUTED = frozenset(("involved_classes", "scenario", "depends_on"))
_LANGUAGES: Mapping[str, Dialect] = {"_java": "java", "_javascript": "javascript"}
_HINTS = {"python": "Python 3", "java": "Java 8 SDK", "javascript": "JavaScript"}
_SCHEMA_TYPES = {
    **dict.fromkeys(("integer", "byte", "short", "long", "Bigint"), "integer"),
    **dict.fromkeys(("number", "float", "double"), "number"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("array", "list", "tuple", "ArrayList", "Array", "Queue", "Stack"), "array"),
    **dict.fromkeys(("dict", "object", "HashMap", "Hashtable"), "object"),
}
_NESTED = ("properties", "items")


def is_bfcl(path: Path) -> bool:
    """Whether a file is one of BFCL's: a question a line, under its own keys."""
    if path.suffix.lower() not in (".json", ".jsonl"):
        return False
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(_LONGEST_LINE))
    except (OSError, ValueError):  # its own reader says what is wrong with it
        return False
    return isinstance(first, dict) and first.keys() >= _KEYS and isinstance(first["question"], list)


def bfcl_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any], tuple[Tool, ...], ExpectedCalls]]:
    """Line, row (`id`, `messages`), tools and right calls of each question.

    Raises:
        UsageError: the file is not of a category that calls are compared in, or its answers are missing.
    """
    language: Dialect = next((_LANGUAGES[end] for end in _LANGUAGES if path.stem.endswith(end)), "python")
    expected = _expectations(path, language)
    for line, record in _records(path):
        if isinstance(record, dict) and (_EXECUTED & record.keys() or "function" not in record):
            told = (
                "BFCL judges this category by executing what is called, which is not done here; give a file of single "
                "turns, such as BFCL_v4_simple_python.json"
            )
            raise UsageError(located(path, line, told))
        try:
            row = {"id": _identifier(record["id"]), "messages": _messages(record["question"])}
            functions = record["function"] if isinstance(record["function"], list) else [record["function"]]
            tools = tuple(_tool(one, language) for one in functions)
            yield line, row, tools, expected(line, record["id"], functions)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UsageError(located(path, line, f"this is not a question of BFCL's ({error!r:.80})")) from error


def _expectations(path: Path, language: Dialect) -> Callable[[int, str, list[Mapping[str, Any]]], ExpectedCalls]:
    """What gives the right calls of a question, by its line, id and functions."""
    if "irrelevance" in path.stem:
        return lambda _line, _name, _functions: ExpectedCalls(dialect=language)
    if "relevance" in path.stem:
        return lambda _line, _name, _functions: ExpectedCalls(anything=True, dialect=language)
    answers = path.parent / ANSWERS / path.name
    if not answers.is_file():
        raise UsageError(f"{path}: its right calls are missing: {answers}; put BFCL's folder '{ANSWERS}' beside it")
    truths = dict(_answers(answers))

    def expected(line: int, name: str, functions: list[Mapping[str, Any]]) -> ExpectedCalls:
        if name not in truths:
            raise UsageError(located(path, line, f"{answers} has no answer to '{name}'; take both of one version"))
        at, truth = truths[name]
        if not _are_calls(truth):
            raise _no_answer(answers, at)
        parameters = {function["name"]: function["parameters"] for function in functions}
        calls = [(called, values) for call in truth for called, values in call.items()]
        return ExpectedCalls(
            tuple(ExpectedCall(_name(called), values, parameters=parameters.get(called)) for called, values in calls),
            dialect=language,
        )

    return expected


def _no_answer(path: Path, line: int) -> UsageError:
    return UsageError(located(path, line, "this is no answer of BFCL's: it needs 'id' and 'ground_truth', calls"))


def _answers(path: Path) -> Iterator[tuple[str, tuple[int, Any]]]:
    """Each id, with the line and the right calls, in whatever form its category has them."""
    for line, record in _records(path):
        if not isinstance(record, dict) or not isinstance(record.get("id"), str) or "ground_truth" not in record:
            raise _no_answer(path, line)
        yield record["id"], (line, record["ground_truth"])


def _are_calls(truth: Any) -> bool:
    return isinstance(truth, list) and all(
        isinstance(call, dict) and all(isinstance(values, dict) for values in call.values()) for call in truth
    )


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, path, number)


def _messages(question: Any) -> list[Mapping[str, str]]:
    """Those of the first turn. Raises TypeError or LookupError where they are none."""
    messages: list[Mapping[str, str]] = question[0]
    if not all(isinstance(part, str) for one in messages for part in (one["role"], one["content"])) or not messages:
        raise TypeError("no messages")
    return messages


def _identifier(name: str) -> str:
    return name if IDENTIFIER.fullmatch(name) else "".join(c if IDENTIFIER.fullmatch(c) else "-" for c in name)


def _name(name: str) -> str:
    return name.replace(".", "_")


def _tool(function: Mapping[str, Any], language: Dialect) -> Tool:
    parameters = copy.deepcopy(dict(function["parameters"]))
    properties = parameters.get("properties", {})
    read = _typed if language == "python" else _as_text(_HINTS[language].partition(" ")[0])
    hint = f"{function.get('description', '')} Note that the provided function is in {_HINTS[language]} syntax."
    schema = {**parameters, "type": "object", "properties": {name: read(one) for name, one in properties.items()}}
    return {
        "type": "function",
        "function": {"name": _name(function["name"]), "description": hint.strip(), "parameters": schema},
    }


def _typed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with JSON schema's types, at any depth."""
    read: dict[str, Any] = {**schema, "type": _SCHEMA_TYPES.get(schema.get("type", ""), "string")}
    if isinstance(schema.get("properties"), Mapping):
        read["properties"] = {name: _typed(one) for name, one in schema["properties"].items()}
    if isinstance(schema.get("items"), Mapping):
        read["items"] = _typed(schema["items"])
    return read


def _as_text(language: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What makes a parameter one of text that holds a literal of the language."""

    def read(schema: Mapping[str, Any]) -> dict[str, Any]:
        kind, told = schema.get("type", "any"), schema.get("description", "")
        if kind == "any":
            told += f" This parameter can be of any type of {language} object in string representation."
        else:
            told += f" This is {language} {kind} type parameter in string representation."
        items = schema.get("items", {}).get("type")
        if items:
            told += f" The list elements are of type {items}; they are not in string representation."
        if kind == "dict" and "properties" in schema:
            entries = json.dumps(schema["properties"])
            told += (
                f" The dictionary entries have the following schema; they are not in string representation. {entries}"
            )
        kept = {key: value for key, value in schema.items() if key not in _NESTED}
        return {**kept, "type": "string", "description": told.strip()}

    return read
