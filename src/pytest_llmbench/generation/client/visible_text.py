"""What is visible of an answer that arrives in pieces: all of it but what was thought before it."""

from __future__ import annotations

from pytest_llmbench.models.reasoning import BLOCKS, OPENED_IN_PROMPTS, WRAPPERS

_OPENINGS = {opening.rstrip(): closing for opening, closing in BLOCKS}
_MARKS = (*_OPENINGS, *WRAPPERS)
_LONGEST = max(map(len, OPENED_IN_PROMPTS))
_LAST_CHARACTERS = frozenset(mark[-1] for mark in OPENED_IN_PROMPTS)


class VisibleText:
    """Takes an answer's pieces, and tells which part of each is visible.

    A closing mark in visible text ends a block that the prompt had opened, which nobody can see before: what was taken
    for the answer was none, and `begun` is False again. As `split_reasoning`, for text that is still coming.
    """

    __slots__ = ("_closings", "_held", "begun")

    def __init__(self) -> None:
        self.begun = False
        self._held = ""
        self._closings: tuple[str, ...] = ()  # one of these ends the open block; empty outside of one

    def add(self, piece: str, content: str) -> str:
        """The visible part of the next piece, which `content` ends with."""
        if not self.begun:
            return self._show(self._held + piece)
        if _LAST_CHARACTERS.isdisjoint(piece):
            return piece
        rest = _after(content[-len(piece) - _LONGEST :], OPENED_IN_PROMPTS)
        if rest is None:
            return piece
        self.begun = False
        return self._show(rest)

    def _show(self, seen: str) -> str:
        while True:
            if self._closings:
                rest = _after(seen, self._closings)
                if rest is None:
                    self._held = seen[-max(map(len, self._closings)) :]  # blocks are long, and only their end matters
                    return ""
                seen, self._closings = rest, ()
            elif mark := next((mark for mark in _MARKS if seen.lstrip().startswith(mark)), None):
                seen = seen.lstrip()[len(mark) :]
                self._closings = (_OPENINGS[mark],) if mark in _OPENINGS else ()
            elif (rest := _after(seen, OPENED_IN_PROMPTS)) is not None:
                seen = rest
            else:
                return self._begin(seen.lstrip())

    def _begin(self, text: str) -> str:
        """The first visible text, none while it may still become a mark."""
        self.begun = bool(text) and not any(mark.startswith(text) for mark in _MARKS)
        self._held = "" if self.begun else text
        return text if self.begun else ""


def _after(text: str, marks: tuple[str, ...]) -> str | None:
    """What follows the first of the marks that is in the text; None where none is."""
    return next((text.partition(mark)[2] for mark in marks if mark in text), None)
