"""What a model or a server wrote, as files can hold it: JSON's escapes give half characters, and some numbers none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    """The text as one that can be written: halves of a character that came in two events are one, others are U+FFFD."""
    if text.isascii() or not _HALF.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def finite(value: Any) -> Any:
    """A value of JSON's types where a number that is not finite is None: JSON has no such numbers."""
    match value:
        case Mapping():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
    return value


def writable(value: Any) -> Any:
    """A value of JSON's types with whole characters alone; a number that is not finite is told in words (`NaN`)."""
    match value:
        case str():
            return whole_characters(value)
        case Mapping():
            return {whole_characters(str(key)): writable(item) for key, item in value.items()}
        case list() | tuple():
            return [writable(item) for item in value]
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
