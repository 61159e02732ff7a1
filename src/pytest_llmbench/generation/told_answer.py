"""An answer of a server that is told piece by piece as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.generation.chat_answer import Answer


class ToldAnswer(Answer):
    """Hands each new piece of visible text to `told`."""

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self._told = told

    def add_chunk(self, event: Mapping[str, Any]) -> None:
        """Take in one event of a stream, and tell its text."""
        self._hand_on(super().add_chunk, event)

    def add_whole(self, event: Mapping[str, Any]) -> None:
        """Take in the whole answer, and tell it."""
        self._hand_on(super().add_whole, event)

    def _hand_on(self, add: Callable[[Mapping[str, Any]], None], event: Mapping[str, Any]) -> None:
        before = len(self.text)
        add(event)
        if len(self.text) > before:
            self._told(self.text[before:])
