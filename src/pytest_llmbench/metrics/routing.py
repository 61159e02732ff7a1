"""Which tool an answer routes to, and what is wrong when it is another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.cases.tools import LEFT_OUT, name_of
from pytest_llmbench.models.call_forms import marked_calls, read_calls

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric

_WHOLE_WORD = r"(?<!\w)(?<!\w-)(?:{})(?!\w)(?!-\w)"
_KEYS = "tool|tool_name|name|function|action|recipient_name"
_IN_JSON = rf"""["'](?:{_KEYS})["']\s*:\s*["'](?:{{}})["']"""
_BRACKETED = r"\[\s*(?:{})\s*\](?!\()"
_AS_CODE = (
    _IN_JSON,
    _BRACKETED,
    "`(?:{})`",
    r"(?<![\w-])(?:{})\((?!\s*(?:e?s|e|ed|ing)\s*\))",  # a call, and not a word with its plural: "refund(s)"
    r"(?:\A|\n)\W*(?i:tool|action|function|call|outil|fonction)\s*[:=]\s*(?:{})(?=\W*(?:\n|\Z))",
    r"\A\W*(?:{})\W*\Z",
)
"""Dresses in which a word is surely a tool's name and not prose; brackets before `(` are a link."""
_CALL = re.compile(rf"""["'](?:{_KEYS})["']\s*:\s*["']([^"'\n]{{1,80}})["']""")
_IDENTIFIER = re.compile(r"(?<!\w)[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+(?!\w)")
_PROGRAMMERS_NAME = re.compile(r"[_.:/]|[a-z0-9][A-Z]")

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

    def to_json(self) -> dict[str, Any]:
        """The reason, the tool that is named, and the right one."""
        named = {} if self.named is None else {"tool": self.named}
        return {"reason": self.reason, **named, "expected": self.expected}


def tool_finder(tools: Iterable[str], form: str = "auto") -> ToolFinder:
    r"""A function that gives the first of `tools` that a text names, or None. Markdown's `\_` counts as `_`.

    `form` says what names a tool: `mention` is its key as a whole word anywhere, `bracket` is `[key]`, `json` a JSON
    object such as `{"tool": "key"}`, `tool_calls` a call in one of the forms of models; another text is a regular
    expression whose group holds the key. With `auto` a key that only a program would write (`volume_up`, `getWeather`)
    may be mentioned; one that is a word (`refund`) must stand in brackets, JSON or backticks, be called, or be all
    there is: prose with that word in it calls nothing.
    """
    names = tuple(dict.fromkeys(tools))
    if not names:
        return lambda _text: None
    if form == "tool_calls":
        return lambda text: _first_called(read_calls(text, known=names), names)
    find = _pattern_finder(_patterns(names, form), names)
    return (lambda text: _first_called(marked_calls(text), names) or find(text)) if form == "auto" else find


def _patterns(names: Iterable[str], form: str) -> list[re.Pattern[str]]:
    if form == "auto":
        told_apart = {name: bool(_PROGRAMMERS_NAME.search(name)) for name in names}
        dressed = [_of(shape, [name for name in names if not told_apart[name]]) for shape in _AS_CODE]
        return [*filter(None, dressed), *filter(None, [_of(_WHOLE_WORD, [name for name in names if told_apart[name]])])]
    shapes = {"mention": _WHOLE_WORD, "bracket": _BRACKETED, "json": _IN_JSON}
    if form not in shapes:
        return [re.compile(form)]
    return [*filter(None, [_of(shapes[form], list(names))])]


def _of(shape: str, names: list[str]) -> re.Pattern[str] | None:
    """The shape round any of the names; the longest first, of those that begin alike."""
    if not names:
        return None
    longest_first = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return re.compile(shape.replace("(?:{})", f"({longest_first})"))


def _pattern_finder(patterns: list[re.Pattern[str]], names: tuple[str, ...]) -> ToolFinder:
    known = frozenset(names)

    def first_tool(text: str) -> str | None:
        plain = _plain(text)
        found = [match for pattern in patterns if (match := pattern.search(plain))]
        named = [(match.start(1), match[1]) for match in found if match[1] in known]
        return min(named)[1] if named else None

    return first_tool


def _first_called(calls: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> str | None:
    return next((call["name"] for call in calls if call["name"] in names), None)


class Route:
    """Where answers route to: `tools` are the vocabulary's, to which a case's own are added; `form` as `tool_finder`'s.

    Where a case gives the model tools, the first call that the answer makes is its route, unless `form` asks for text.
    """

    def __init__(self, tools: Iterable[str], form: str = "auto") -> None:
        self._tools, self._form = tuple(tools), form
        self._finders: dict[tuple[str, ...], ToolFinder] = {}

    def accuracy(self, case: Case, completion: Completion) -> bool | None:
        """Whether the answer routes to the case's tool; unscored for a case without one, or whose tools were lost."""
        if case.tool is None or self._lost(completion):
            return None
        return self._named(case, completion) == case.tool

    def reasons(self, case: Case, completion: Completion) -> list[dict[str, Any]]:
        """What is wrong with the route, for reports."""
        if case.tool is not None and self._lost(completion):
            return [{"reason": LEFT_OUT, "found": completion.tools_left_out}]
        wrong = self.misrouting(case, completion)
        return [wrong.to_json()] if wrong else []

    def misrouting(self, case: Case, completion: Completion) -> Misrouting | None:
        """What is wrong with the answer's route; None when it is right or the case expects no tool."""
        if case.tool is None:
            return None
        named = self._named(case, completion)
        if named == case.tool:
            return None
        if named in self._known(case):
            return Misrouting("wrong tool", case.tool, named)
        unknown = named or (None if self._called(completion) is not None else named_unknown(completion.text))
        return Misrouting("unknown tool" if unknown else "no tool named", case.tool, unknown)

    def _named(self, case: Case, completion: Completion) -> str | None:
        calls = self._called(completion)
        if calls is not None:
            return str(calls[0]["name"]) or None if calls else None
        known = self._known(case)
        if known not in self._finders:
            self._finders[known] = tool_finder(known, self._form)
        return self._finders[known](completion.text)

    def _called(self, completion: Completion) -> tuple[Mapping[str, Any], ...] | None:
        return completion.tool_calls if self._form in ("auto", "tool_calls") else None

    def _lost(self, completion: Completion) -> bool:
        return bool(completion.tools_left_out) and self._form in ("auto", "tool_calls")

    def _known(self, case: Case) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self._tools, *map(name_of, case.tools)]))


def tool_accuracy(tools: Iterable[str], form: str = "auto") -> AnswerMetric:
    """A metric: whether the first tool the answer names is the case's; unscored for a case without a tool."""
    return Route(tools, form).accuracy


def named_unknown(text: str) -> str | None:
    """What looks like a tool in a text that names none of those that are known; None where nothing does."""
    found = _CALL.search(_plain(text)) or _IDENTIFIER.search(_plain(text))
    return found[found.re.groups] if found else None


def _plain(text: str) -> str:
    return text.replace("\\_", "_")
