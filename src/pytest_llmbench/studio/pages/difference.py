"""Where two answers differ, word by word: what the base alone says, and what the fine-tune alone says."""

from __future__ import annotations

import dataclasses
import difflib
import re

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 4000  # two texts of so many take about a second


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one text; `changed` where the other text does not have it."""

    text: str
    changed: bool


def marked(before: str, after: str) -> tuple[list[Piece], list[Piece]] | None:
    """Both texts in pieces that say what is not in the other one; None where they are too long to compare."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if max(len(old), len(new)) > _MOST_WORDS:
        return None
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return (
        [Piece("".join(old[start:end]), tag != "equal") for tag, start, end, _, _ in steps if end > start],
        [Piece("".join(new[start:end]), tag != "equal") for tag, _, _, start, end in steps if end > start],
    )
