"""Tokens as they come, turned into text as it can be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class TextPieces:
    """Hands on the text of a growing answer, once each; what may still change is held back.

    A token may be half a character, and in some tokenizers a space belongs to the next word: only text that the next
    token leaves as it is goes out.

    Args:
        decode: the text of tokens.
        told: handed each new piece.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], told: Callable[[str], None]) -> None:
        self._decode, self._told = decode, told
        self._shown = ""

    def take(self, tokens: Sequence[int]) -> None:
        """Show what all `tokens` so far say beyond what was shown, up to a character that is not whole yet."""
        text = self._decode(tokens).lstrip()
        self._show(text.rstrip(_BROKEN).rstrip())

    def end(self, tokens: Sequence[int]) -> None:
        """Show the rest; the whole on a line of its own where later tokens changed what was shown."""
        text = self._decode(tokens).strip()
        if text.startswith(self._shown):
            self._show(text)
        else:
            self._told(f"\n{text}")

    def _show(self, text: str) -> None:
        if text.startswith(self._shown) and len(text) > len(self._shown):
            self._told(text[len(self._shown) :])
            self._shown = text
