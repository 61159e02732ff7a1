"""What a document recorded about itself, as names and words, alike in every report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.core.locale import Words

_GIB = 2**30


def recorded_facts(found: Mapping[str, Any], say: Words, missing: str | None = None) -> list[tuple[str, str]]:
    """A nested mapping as `a.b.c` and its value in words; `missing` stands for null, as in `recorded_text`."""
    return [(key, recorded_text(value, key, say, missing)) for key, value in _flat(found)]


def recorded_text(value: Any, key: str, say: Words, missing: str | None = None) -> str:
    """A recorded value in words; `key` tells of a whole number whether it counts bytes.

    `missing` is said of what is null or empty, else that it was not recorded.
    """
    match value:
        case None | "":
            text = missing or say("not recorded")
        case bool():
            text = say("yes") if value else say("no")
        case int() if "bytes" in key and value >= _GIB:
            text = say("{value} GiB", value=say.number(value / _GIB))
        case float():
            text = say.marked(f"{value:.6g}")
        case list():
            text = ", ".join(recorded_text(item, key, say, missing) for item in value) or say("none")
        case dict():
            told = (f"{name} {recorded_text(item, name, say, missing)}" for name, item in value.items())
            text = ", ".join(told) or say("none")
        case _:
            text = str(value)
    return text


def _flat(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in found.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
