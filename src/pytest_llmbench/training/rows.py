"""Reading training rows: JSON Lines in TRL's conversational prompt-completion form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_llmbench.documents import Faults, parse_json, read_text
from pytest_llmbench.errors import UsageError

_ROLES = ("system", "user", "assistant")


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a `.jsonl` file, each with a `prompt` and a `completion`: lists of `{"role", "content"}` messages.

    Raises:
        UsageError: the file is unreadable, empty, or a row has another form; one `file:line: ...` for each fault.
    """
    rows: list[dict[str, Any]] = []
    faults = Faults()
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = parse_json(line, path, number)
        if fault := _fault(row):
            faults.at(path, number, fault)
        rows.append(row)
    faults.raise_any()
    if not rows:
        raise UsageError(f"{path}: the file holds no row to learn from")
    return rows


def _fault(row: Any) -> str | None:
    if not isinstance(row, dict):
        return "a row is an object with 'prompt' and 'completion'"
    for part in ("prompt", "completion"):
        messages = row.get(part)
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            return f"'{part}' must be a list of messages, each with a role ({', '.join(_ROLES)}) and a content"
    return None


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and message.keys() == {"role", "content"}
        and message["role"] in _ROLES
        and isinstance(message["content"], str)
    )
