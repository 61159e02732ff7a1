"""One batch that stays full: who ends makes room for who waits, and each step adds a token to every row, or several."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pytest_llmbench.generation.local.drafts import Guess, Memory, worthwhile
from pytest_llmbench.generation.local.layout import STEP
from pytest_llmbench.generation.local.sampling import choose
from pytest_llmbench.generation.local.slots import SEEN, Piece
from pytest_llmbench.generation.rows import NO_TOKEN, Limits, Row
from pytest_llmbench.generation.sampling import Sampling
from pytest_llmbench.models.memory.estimate import GUESSED

if TYPE_CHECKING:
    from torch import Tensor

_REFILL = 0.25  # of all slots: reading few prompts costs nearly as much as reading some


@dataclasses.dataclass(slots=True)
class Asked:
    """A question for one adapter, by PEFT's name, or for the base (None); `slot` is -1 until it has one."""

    row: Row
    limits: Limits
    adapter: str | None
    slot: int = -1
    started: float = 0.0
    looked_s: float = 0.0
    memory: Memory | None = None
    hidden_sum: Tensor | None = None
    fed: int = 0

    @property
    def needed(self) -> int:
        """Positions that prompt and answer may take."""
        return len(self.row.prompt) + _most(self.limits)

    @property
    def position(self) -> int:
        """Where the last token of the answer so far stands."""
        return len(self.row.prompt) + self.fed

    @property
    def room(self) -> int:
        """How many tokens more than the next the answer may have, and may be fed in one step."""
        return min(_most(self.limits) - len(self.row.tokens) - 1, SEEN - 1 - self.position % SEEN)


class Steps(Protocol):
    """The model, as a batch works with it: what it has read, and its logits for more."""

    guesses: bool
    last_hidden: Tensor

    @property
    def places(self) -> int:
        """The most rows at once."""
        ...

    @property
    def looked_s(self) -> float:
        """Seconds spent on finding out how products are best made, for which no answer is to blame."""
        ...

    def shared(self, prompts: Sequence[tuple[str | None, Sequence[int]]]) -> list[int]:
        """How many tokens of each prompt's beginning are worth reading once, or were read before."""
        ...

    def begin(self, slot: int, adapter: str | None, tokens: Sequence[int], known: int) -> int:
        """Have the first `known` tokens in the slot; returns their number."""
        ...

    def move(self, source: int, target: int, positions: int) -> None:
        """Put a row into another slot."""
        ...

    def clear(self, slot: int, start: int) -> None:
        """Forget what a slot has from a position on."""
        ...

    def logits(self, pieces: Sequence[Piece], adapters: Sequence[str | None]) -> Tensor:
        """After each piece, (pieces, vocabulary)."""
        ...

    def step_logits(self, pieces: Sequence[Piece], adapters: Sequence[str | None]) -> Tensor:
        """After each token of the pieces, one piece a slot; (tokens of all, vocabulary)."""
        ...


class Batch:
    """Who is answering, and who waits."""

    def __init__(self, engine: Steps, asked: Sequence[Asked], sampling: Sampling) -> None:
        self.active: list[Asked] = []
        self._engine, self._sampling = engine, sampling
        self._waiting = collections.deque(asked)
        known = engine.shared([(one.adapter, one.row.prompt) for one in asked])
        self._known = {id(one): count for one, count in zip(asked, known, strict=True)}
        self._clock, self._looked_s = time.monotonic(), engine.looked_s

    @property
    def busy(self) -> bool:
        """Whether anybody still answers or waits."""
        return bool(self.active or self._waiting)

    def advance(self) -> list[Asked]:
        """Read new rows when there is room for some, else one token more for each row; returns the rows that ended."""
        import torch

        free = self._engine.places - len(self.active)
        with torch.inference_mode():
            if self._waiting and (not self.active or free >= _REFILL * self._engine.places):
                ended = self._admit(free)
            else:
                ended = self._step()
        self.active = [one for one in self.active if one.row.finish is None]
        return ended

    def _admit(self, free: int) -> list[Asked]:
        engine = self._engine
        new = [self._waiting.popleft() for _ in range(min(free, len(self._waiting)))]
        self._clock, self._looked_s = time.monotonic(), engine.looked_s
        taken = {one.slot for one in self.active}
        slots = [slot for slot in range(engine.places) if slot not in taken]
        pieces = []
        for one, slot in zip(new, slots, strict=False):
            one.slot, one.started, one.looked_s = slot, self._clock, self._looked_s
            known = engine.begin(one.slot, one.adapter, one.row.prompt, self._known[id(one)])
            pieces.append(Piece(one.slot, known, one.row.prompt[known:]))
        logits = engine.logits(pieces, [one.adapter for one in new])
        self.active += new
        if engine.guesses:
            for one in new:
                one.memory = Memory(one.row.prompt)
        return self._extend(new, [() for _ in new], logits)

    def _step(self) -> list[Asked]:
        self._close_ranks()
        guessed = self._guessed()
        pieces = [
            Piece(one.slot, one.position, [one.row.tokens[-1], *tokens])
            for one, tokens in zip(self.active, guessed, strict=True)
        ]
        logits = self._engine.step_logits(pieces, [one.adapter for one in self.active])
        return self._extend(self.active, guessed, logits, self._engine.last_hidden)

    def _guessed(self) -> list[Sequence[int]]:
        """The tokens that are tried behind each row's last one."""
        guesses = [one.memory.guess(one.room) if one.memory else Guess() for one in self.active]
        return worthwhile(guesses, len(self.active), STEP, GUESSED * self._engine.places)

    def _close_ranks(self) -> None:
        """Move the last rows to free slots before them once a tile of rows has ended: attention reads free ones too."""
        tiles = -(-len(self.active) // STEP)
        if -(-(max(one.slot for one in self.active) + 1) // STEP) == tiles:
            return
        free = iter(sorted(set(range(tiles * STEP)) - {one.slot for one in self.active}))
        for one in self.active:
            if one.slot >= tiles * STEP:
                target = next(free)
                self._engine.move(one.slot, target, one.position)
                one.slot = target

    def _extend(
        self, rows: Sequence[Asked], guessed: Sequence[Sequence[int]], logits: Tensor, hidden: Tensor | None = None
    ) -> list[Asked]:
        """Add the token after each row, and those after its guesses as far as they were right.

        Args:
            rows: who goes on.
            guessed: what was tried behind each row's last token.
            logits: after the last token of the first row and its guesses, then of the next; (tokens, vocabulary).
            hidden: the last hidden states of these tokens, where they were fed as part of the answer.
        """
        keys = [one.row.noise_key for one, tried in zip(rows, guessed, strict=True) for _ in (None, *tried)]
        steps = [
            len(one.row.tokens) + place
            for one, tried in zip(rows, guessed, strict=True)
            for place in range(len(tried) + 1)
        ]
        chosen = choose(logits, keys, steps, self._sampling).tolist()
        clock = time.monotonic()
        looked_s, self._looked_s = self._engine.looked_s - self._looked_s, self._engine.looked_s
        share, self._clock = max(0.0, clock - self._clock - looked_s) / len(rows), clock
        ended, at = [], 0
        for one, tried in zip(rows, guessed, strict=True):
            before, found = len(one.row.tokens), chosen[at : at + len(tried) + 1]
            if tried and NO_TOKEN in found:  # a guess may have spoilt the row: the next step feeds it without any
                self._engine.clear(one.slot, one.position)
                one.memory = None
                found = []
            for place, token in enumerate(found):
                if place and tried[place - 1] != one.row.tokens[-1]:
                    break
                if hidden is not None:
                    one.fed += 1
                    state = hidden[at + place]
                    one.hidden_sum = state if one.hidden_sum is None else one.hidden_sum + state
                now = clock - one.started - (self._looked_s - one.looked_s)
                if one.limits.extend(one.row, token, now, 0.0 if place else share):
                    one.row.hidden_mean = None if one.hidden_sum is None else one.hidden_sum / one.fed
                    ended.append(one)
                    break
            if one.row.finish == "error":
                self._engine.clear(one.slot, 0)
            at += len(tried) + 1
            if one.memory:
                one.memory.tell(one.row.tokens[before:])
        return ended


def _most(limits: Limits) -> int:
    return limits.max_new_tokens + limits.max_reasoning_tokens
