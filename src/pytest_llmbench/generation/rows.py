"""An answer under way, when it ends, and its text as it grows: alike for every engine that makes tokens here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_llmbench.core.records import Finish


NO_TOKEN = -1
"""Chosen where a model's logits are no numbers (NaN) or infinite, as in a half-precision type that is too narrow."""

_LOOK_EVERY = 16  # tokens; reading what was thought takes milliseconds once it is long

_BROKEN = "\N{REPLACEMENT CHARACTER}"


def _never(_tokens: Sequence[int]) -> bool:
    return False


def _nothing(_tokens: Sequence[int], _prompt: Sequence[int]) -> int:
    return 0


@dataclass(slots=True)
class Row:
    """One answer under way. Times are seconds since its prompt began to be read; `share_s` is the row's part of them.

    `tokens` are without the one that ended the answer; `made` counts it too, as servers' usage does. `thought` is how
    many of them were thinking, None while that goes on or was not asked for.
    `hidden_mean` is set at the end: the mean last-layer hidden state over the answer's tokens that were fed back, which
    is every token of an answer that stopped by itself; None when there is none.
    """

    index: int
    prompt: Sequence[int]
    noise_key: int
    tokens: list[int] = field(default_factory=list)
    made: int = 0
    thought: int | None = None
    finish: Finish | None = None
    first_token_s: float | None = None
    latency_s: float = 0.0
    share_s: float = 0.0
    hidden_mean: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """When an answer ends: an end-of-turn token or text, its length, or its time.

    `ended` tells whether the tokens so far end in a text that closes the turn. With `max_reasoning_tokens`, thinking
    and answer together may have so many more, and the answer alone `max_new_tokens`; `thought` tells how many of the
    tokens after a prompt were thinking, None while it goes on.

    The time is the row's share of its batch's, each step divided among the rows in it: alone it is the latency, and a
    neighbour's cost, or a machine that grows busy, cuts no answer short that would have been in time alone.
    """

    eos: frozenset[int]
    max_new_tokens: int
    timeout_s: float
    ended: Callable[[Sequence[int]], bool] = _never
    max_reasoning_tokens: int = 0
    thought: Callable[[Sequence[int], Sequence[int]], int | None] = _nothing

    def is_long(self, row: Row) -> bool:
        """Whether the answer is as long as it may be."""
        if len(row.tokens) < self.max_new_tokens:
            return False
        if len(row.tokens) >= self.max_new_tokens + self.max_reasoning_tokens:
            return True
        # seldom enough to cost little, often enough to see its end in time
        every = min(_LOOK_EVERY, self.max_new_tokens)
        if row.thought is None and (len(row.tokens) - self.max_new_tokens) % every == 0:
            row.thought = self.thought(row.tokens, row.prompt)
        return row.thought is not None and len(row.tokens) - row.thought >= self.max_new_tokens

    def extend(self, row: Row, token: int, now: float, share: float) -> bool:
        """Add a token to an answer that is still open; True when it ends here. With `NO_TOKEN` it has failed."""
        if row.finish is not None:
            return False
        row.latency_s = now
        row.share_s += share
        if token == NO_TOKEN:
            row.finish = "error"
            return True
        if row.first_token_s is None:
            row.first_token_s = now
        row.made += 1
        if token in self.eos:
            row.finish = "stop"
            return True
        row.tokens.append(token)
        if self.ended(row.tokens):
            row.finish = "stop"
        elif self.is_long(row):
            row.finish = "length"
        elif row.share_s > self.timeout_s:
            row.finish = "timeout"
        return row.finish is not None


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
