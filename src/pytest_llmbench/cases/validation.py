"""What may stand in a case, a suite's heading and a vocabulary: each key's check tells what is wrong, and where."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.cases.tool_validation import Fault, calls_fault, choice_fault, function_fault, tools_fault
from pytest_llmbench.core.documents import suggestion

Checks = Mapping[str, Callable[[Any], Fault | None]]

IDENTIFIER = re.compile(r"[A-Za-z0-9._-]+")
_ROLES = ("system", "user", "assistant")


def _text(value: Any) -> Fault | None:
    if type(value) is not str:
        return (), f"must be text, not {value!r:.40}" + ("; put it in quotes" if isinstance(value, int | float) else "")
    return ((), "is empty") if not value or value.isspace() else None


def identifier(value: Any) -> Fault | None:
    """A fault of what is to be part of a pytest id."""
    if type(value) is int:
        return None
    if type(value) is not str or not value:
        return _text(value)
    if not IDENTIFIER.fullmatch(value):
        return (), f"{value!r:.40} would break a pytest id; use letters without accents, digits, '.', '_' and '-'"
    return None


def text_list_fault(value: Any) -> Fault | None:
    """A fault of a list of texts, which are to differ in more than case."""
    if type(value) is not list:
        return (), f"must be a list of texts, not {value!r:.40}"
    for index, item in enumerate(value):
        fault = _text(item)
        if fault:
            return (index,), f"item {index + 1} {fault[1]}"
    folded = [item.casefold() for item in value]
    if len(set(folded)) == len(folded):
        return None
    index = next(index for index, item in enumerate(folded) if item in folded[:index])
    return (index,), f"'{value[index]}' appears twice"


def _messages(value: Any) -> Fault | None:
    if type(value) is not list or not value:
        return (), f"must be a list of messages (role and content), not {value!r:.40}"
    for index, message in enumerate(value):
        if fault := _message(message, first=index == 0):
            return (index, *fault[0]), f"message {index + 1}: {fault[1]}"
    if value[-1]["role"] != "user":
        return (len(value) - 1, "role"), "the last message must be the user's, since the model answers it"
    return None


def _message(message: Any, *, first: bool) -> Fault | None:
    if type(message) is not dict or message.keys() != {"role", "content"}:
        return (), f"needs exactly 'role' and 'content', not {message!r:.60}"
    if message["role"] not in _ROLES:
        return ("role",), f"unknown role {message['role']!r:.40}; {suggestion(str(message['role']), _ROLES)}"
    if message["role"] == "system" and not first:
        return ("role",), "a system message can only be the first"
    fault = _text(message["content"])
    return (("content",), f"content {fault[1]}") if fault else None


def _expect(value: Any) -> Fault | None:
    if type(value) is not dict:
        return (), f"must map metrics to true or a least score, not {value!r:.40}"
    for metric, least in value.items():
        if least is not True and (type(least) not in (int, float) or not math.isfinite(least)):
            return (metric,), f"{metric} must be true (score 1) or a number (the least score), not {least!r:.40}"
    return None


def _group(value: Any) -> Fault | None:
    return None if type(value) is int else _text(value)


def _list(value: Any) -> Fault | None:
    return None if type(value) is list and value else ((), "must be a list of at least one case")


def _vocabulary_tools(value: Any) -> Fault | None:
    if type(value) is list and value:
        return tools_fault(value) if all(type(tool) is dict for tool in value) else ((), "must be a list of tools")
    return (
        None if type(value) is dict and value else ((), "must hold at least one tool, each with the list of its terms")
    )


def vocabulary_tool(name: Any, given: Any) -> Fault | None:
    """A fault of one tool of a vocabulary: its terms, or a mapping of `terms`, `description` and `parameters`."""
    if fault := identifier(name):
        return fault
    if type(given) is not dict:
        return text_list_fault(given) if given else ((), "needs at least one term")
    if not given:
        return (), "needs terms, or a description and parameters"
    terms = text_list_fault(given["terms"]) if "terms" in given else None
    if terms:
        return ("terms", *terms[0]), f"terms: {terms[1]}"
    return function_fault({"name": str(name), **{key: value for key, value in given.items() if key != "terms"}})


HEADING_CHECKS: Checks = {
    "category": identifier,
    "language": _text,
    "system": _text,
    "tools": tools_fault,
    "tool_choice": choice_fault,
}
CASE_CHECKS: Checks = {
    "id": identifier,
    "prompt": _text,
    "messages": _messages,
    "keywords": text_list_fault,
    "tool": _text,
    "tools": tools_fault,
    "tool_choice": choice_fault,
    "calls": calls_fault,
    "reference": _text,
    "expect": _expect,
    "group": _group,
}
ROW_CHECKS: Checks = {**CASE_CHECKS, **HEADING_CHECKS}
SUITE_CHECKS: Checks = {**HEADING_CHECKS, "cases": _list, "$schema": _text}
VOCABULARY_CHECKS: Checks = {"language": _text, "tools": _vocabulary_tools}


def key_faults(data: Mapping[str, Any], checks: Checks) -> list[Fault]:
    """What is wrong with the keys and values of one mapping, each with the key path where it stands."""
    faults: list[Fault] = []
    for key, value in data.items():
        check = checks.get(key)
        if check is None:
            faults.append(((key,), f"unknown key '{key}'; {suggestion(key, checks)}"))
        elif fault := check(value):
            faults.append(((key, *fault[0]), f"{key}: {fault[1]}"))
    return faults
