"""A reason against an answer, as one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told_reason(reason: Mapping[str, Any]) -> str:
    """`wrong value get_weather.city: 'Lyon', expected 'Paris'`: what a metric found wrong, for a terminal."""
    place = ".".join(str(reason[key]) for key in ("tool", "argument") if reason.get(key))
    found = f": {reason['found']!r:.200}" if "found" in reason else ""
    expected = f", expected {_told(reason['expected'])}" if "expected" in reason else ""
    return f"{reason['reason']}{' ' if place else ''}{place}{found}{expected}"


def _told(expected: Any) -> str:
    values = expected if isinstance(expected, list | tuple) else [expected]
    return " or ".join(f"{value!r:.60}" for value in values)
