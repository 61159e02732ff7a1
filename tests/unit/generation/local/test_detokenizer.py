"""A growing answer shown piece by piece."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.generation.local.detokenizer import TextPieces


def of_bytes(tokens: Sequence[int]) -> str:
    """A token a byte, so that a letter with an accent takes two."""
    return bytes(tokens).decode("utf-8", errors="replace")


@given(st.text(alphabet=st.characters(exclude_characters="\N{REPLACEMENT CHARACTER}", codec="utf-8"), max_size=30))
def test_the_pieces_together_are_the_answer_and_no_half_character_is_shown(text: str) -> None:
    heard: list[str] = []
    pieces, tokens = TextPieces(of_bytes, heard.append), list(text.encode())
    for count in range(1, len(tokens) + 1):
        pieces.take(tokens[:count])
    pieces.end(tokens)
    assert "".join(heard) == text.strip()


def test_text_that_later_tokens_change_is_shown_whole_again() -> None:
    heard: list[str] = []
    pieces = TextPieces(lambda tokens: "abc"[: len(tokens)] if len(tokens) < 3 else "xyz", heard.append)
    for count in (1, 2):
        pieces.take(range(count))
    pieces.end(range(3))
    assert heard == ["a", "b", "\nxyz"]
