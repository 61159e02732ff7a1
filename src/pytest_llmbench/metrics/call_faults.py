"""What may be wrong with a tool call, as typed reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pytest_llmbench.cases.tools import ExpectedCall

Reason = Literal[
    "wrong tool",
    "unknown tool",
    "missing argument",
    "unexpected argument",
    "wrong type",
    "wrong value",
    "missing call",
    "extra call",
    "unreadable call",
]
Made = Mapping[str, Any]
"""A call that an answer makes, `{"name", "arguments"}`; arguments that are text cannot be read."""


@dataclasses.dataclass(frozen=True, slots=True)
class CallFault:
    """One thing that is wrong with an answer's calls.

    `tool` is the tool that was called, or of a missing call the one that should have been. `expected` are the allowed
    values or the tool's right name, `found` is what the answer has.
    """

    reason: Reason
    tool: str
    argument: str | None = None
    expected: Any = None
    found: Any = None

    def to_json(self) -> dict[str, Any]:
        """The parts that say something."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return told_reason(self.to_json())


Judge = Callable[[ExpectedCall, Made], Sequence[CallFault]]
"""What is wrong with one call held against one that is expected; nothing where it is right."""


def told_reason(reason: Mapping[str, Any]) -> str:
    """`wrong value get_weather.city: 'Lyon', expected 'Paris'`: what a metric found wrong, for a terminal."""
    place = ".".join(str(reason[key]) for key in ("tool", "argument") if reason.get(key))
    found = f": {reason['found']!r:.200}" if "found" in reason else ""
    expected = f", expected {_told(reason['expected'])}" if "expected" in reason else ""
    return f"{reason['reason']}{' ' if place else ''}{place}{found}{expected}"


def _told(expected: Any) -> str:
    values = expected if isinstance(expected, list | tuple) else [expected]
    return " or ".join(f"{value!r:.60}" for value in values)
