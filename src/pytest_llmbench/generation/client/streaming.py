"""An answer of a server that is told piece by piece as it arrives."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmbench.generation.client.chat_answer import Answer
from pytest_llmbench.generation.client.message_parts import whole_characters


class ToldAnswer(Answer):
    """Hands each new piece of visible text to `told`; what was thought before it is not told."""

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self._told = told
        self._silent = True

    def show(self, piece: str) -> None:
        """Tell a piece."""
        self._silent = False
        self._told(whole_characters(piece))

    def tell_rest(self) -> None:
        """Tell what only the whole answer shows: one that looked like a mark to its end, or tool calls."""
        if self._silent and self.text:
            self.show(self.text)
