"""Guesses at an answer's next tokens, so that a step answers several: what followed the same words earlier in its row.

Prompt lookup decoding (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding; speculative decoding:
Leviathan et al. 2023, https://arxiv.org/abs/2211.17192). What the model would choose after a guess is chosen as without
it, and the guess counts where it is the same token: no answer changes, with or without sampling.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MATCHED = 3  # tokens that are looked up at most
_BACK = 4096  # tokens of a prompt that are looked up in
MOST = 4
"""Guesses for one answer in one step; attention is worked out for 8 questions at a time, whose heads may share keys."""

_RIGHT = {1: 0.4, 2: 0.75, 3: 0.95}
"""How often the next token was right by the number of tokens that matched: the example's 60 sampled answers."""


@dataclass(frozen=True, slots=True)
class Guess:
    """The tokens that may come next, and how likely the first is right."""

    tokens: Sequence[int] = ()
    likely: float = 0.0


class Memory:
    """What stood behind each few tokens of a row, the last time that they stood there."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._told: list[int] = []
        self._behind: dict[tuple[int, ...], int] = {}
        self.tell(prompt[-_BACK:])

    def tell(self, tokens: Iterable[int]) -> None:
        """Add what the row says next."""
        for token in tokens:
            for count in range(1, min(_MATCHED, len(self._told)) + 1):
                self._behind[tuple(self._told[-count:])] = len(self._told)
            self._told.append(token)

    def guess(self, most: int) -> Guess:
        """At most so many tokens."""
        for count in range(min(_MATCHED, len(self._told)), 0, -1):
            place = self._behind.get(tuple(self._told[-count:]))
            if place is not None:
                return Guess(self._told[place : place + min(most, MOST)], _RIGHT[count])
        return Guess()


def worthwhile(guesses: Sequence[Guess], rows: int, tile: int, most: int) -> list[Sequence[int]]:
    """What of each guess to try in a step of so many rows: the likeliest.

    The places that are free in the last tile cost nothing; one tile more is opened where half of it should be right,
    unless that makes more than `most` rows.
    """
    likely = sorted(
        (-(guess.likely ** (place + 1)), number, place)
        for number, guess in enumerate(guesses)
        for place in range(len(guess.tokens))
    )
    taken = -rows % tile
    while rows + taken + tile <= most and -sum(chance for chance, _, _ in likely[taken : taken + tile]) >= tile / 2:
        taken += tile
    counts = collections.Counter(number for _, number, _ in likely[:taken])
    return [guess.tokens[: counts[number]] for number, guess in enumerate(guesses)]
