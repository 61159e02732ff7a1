"""Which tool an answer routes to, and what is wrong when it is another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pytest_llmbench.cases import Case
    from pytest_llmbench.metrics.registry import AnswerMetric
    from pytest_llmbench.records import Completion

_WHOLE_WORD = r"(?<!\w)(?<!\w-)(?:{})(?!\w)(?!-\w)"
_CALL = re.compile(r"""["'](?:tool|tool_name|name|function|action)["']\s*:\s*["']([^"'\n]{1,80})["']""")
_IDENTIFIER = re.compile(r"(?<!\w)[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+(?!\w)")

ToolFinder = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Misrouting:
    """Why an answer does not route to the expected tool. `named` is the tool it names instead, known or not."""

    reason: Literal["no tool named", "wrong tool", "unknown tool"]
    expected: str
    named: str | None = None

    def __str__(self) -> str:
        instead = f" '{self.named}'" if self.named else ""
        return f"{self.reason}{instead}, expected '{self.expected}'"


def tool_finder(tools: Iterable[str]) -> ToolFinder:
    r"""A function that gives the first of `tools` that a text names, or None.

    A tool is named by its exact key as a whole word, in a sentence, brackets or JSON: a program that routes on the
    answer would not accept less. Markdown's `\_` counts as `_`.
    """
    longest_first = sorted(map(re.escape, tools), key=len, reverse=True)
    if not longest_first:
        return lambda _text: None
    pattern = re.compile(_WHOLE_WORD.format("|".join(longest_first)))

    def first_tool(text: str) -> str | None:
        match = pattern.search(_plain(text))
        return match[0] if match else None

    return first_tool


def tool_accuracy(tools: Iterable[str]) -> AnswerMetric:
    """A metric: whether the first tool the answer names is the case's; unscored for a case without a tool."""
    first_tool = tool_finder(tools)

    def accuracy(case: Case, completion: Completion) -> bool | None:
        return None if case.tool is None else first_tool(completion.text) == case.tool

    return accuracy


def misrouting(case: Case, text: str, first_tool: ToolFinder) -> Misrouting | None:
    """What is wrong with the answer's route; None when it is right or the case expects no tool."""
    if case.tool is None:
        return None
    named = first_tool(text)
    if named == case.tool:
        return None
    if named is not None:
        return Misrouting("wrong tool", case.tool, named)
    unknown = named_unknown(text)
    if unknown is None:
        return Misrouting("no tool named", case.tool)
    return Misrouting("unknown tool", case.tool, unknown)


def named_unknown(text: str) -> str | None:
    """What looks like a tool in a text that names none of those that are known; None where nothing does."""
    found = _CALL.search(_plain(text)) or _IDENTIFIER.search(_plain(text))
    return found[found.re.groups] if found else None


def _plain(text: str) -> str:
    return text.replace("\\_", "_")
