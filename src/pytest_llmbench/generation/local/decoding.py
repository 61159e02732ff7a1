"""A batch of answers growing token by token; a row leaves the batch the moment its answer ends.

`generate` keeps every row until the longest is done. Dropping finished rows is most of the speed when a fine-tune
answers in 15 tokens and a neighbour rambles for 128; it also lets each answer be journaled, and timed out, on its own.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_llmbench.generation.local.sampling import Sampling, choose

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_llmbench.core.records import Finish


_COMPACT_BELOW = 0.8  # copying the cache costs about one step: worth it once a fifth of the rows are done

_LOOK_EVERY = 16  # tokens; reading what was thought takes milliseconds once it is long

_BROKEN = "\N{REPLACEMENT CHARACTER}"


def _never(_tokens: Sequence[int]) -> bool:
    return False


def _nothing(_tokens: Sequence[int], _prompt: Sequence[int]) -> int:
    return 0


@dataclass(slots=True)
class Row:
    """One answer under way. Times are seconds since the batch started; `share_s` is what the row itself took of them.

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
        """Add a token to an answer that is still open; True when it ends here."""
        if row.finish is not None:
            return False
        row.latency_s = now
        row.share_s += share
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


def _tell_nobody(_rows: Sequence[Row]) -> None:
    """Nobody watches the answers grow."""


def decode(  # what decides an answer, and who watches it grow
    model: Any,
    rows: Sequence[Row],
    sampling: Sampling,
    limits: Limits,
    pad: int,
    grown: Callable[[Sequence[Row]], None] = _tell_nobody,
) -> Iterator[Row]:
    """Answer all rows together, yielding each as it ends.

    Args:
        model: a decoder-only causal language model, its adapters already switched.
        rows: the questions, of any lengths; near lengths waste less padding.
        sampling: how tokens are chosen.
        limits: when answers end.
        pad: the padding token.
        grown: handed the rows after each step, those that just ended included.

    Raises:
        torch.OutOfMemoryError: the batch does not fit; rows already yielded are complete.
    """
    batch = _Batch(model, rows, sampling, limits, pad)
    hook = model.get_decoder().register_forward_hook(batch.keep_hidden)
    try:
        while batch.rows:
            under_way = batch.rows
            ended = batch.step()
            grown(under_way)
            yield from ended
    finally:
        hook.remove()


class _Batch:
    """Left-padded rows, their attention mask and their key-value cache."""

    def __init__(self, model: Any, rows: Sequence[Row], sampling: Sampling, limits: Limits, pad: int) -> None:
        import torch
        from transformers import DynamicCache

        self.rows = list(rows)
        self.model, self.sampling, self.limits = model, sampling, limits
        self.started = self.stepped = time.monotonic()
        device = model.get_input_embeddings().weight.device
        width = max(len(row.prompt) for row in rows)
        padded = [[pad] * (width - len(row.prompt)) + list(row.prompt) for row in rows]
        self.inputs: Tensor = torch.tensor(padded, device=device)
        lengths = torch.tensor([len(row.prompt) for row in rows], device=device)
        self.mask: Tensor = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
        self.cache = DynamicCache(config=model.config.get_text_config())
        self.fed = 0  # answer tokens that have passed through the model, the same for every row
        self.hidden: Tensor = torch.zeros(())
        self.hidden_sum: Tensor = torch.zeros(len(rows), 1, device=device)
        accepted = inspect.signature(model.forward).parameters
        self.keeps_logits = "logits_to_keep" in accepted
        self.takes_positions = "position_ids" in accepted

    def keep_hidden(self, _module: Any, _args: Any, output: Any) -> None:
        """Forward hook of the decoder: the last position's hidden state, (rows, hidden size)."""
        self.hidden = output.last_hidden_state[:, -1].float()

    def step(self) -> list[Row]:
        """One token more for each row; returns the rows that ended with it."""
        import torch

        with torch.inference_mode():
            logits = self._logits()
            if self.fed:
                self.hidden_sum = self.hidden_sum + self.hidden
            chosen = choose(
                logits,
                [row.noise_key for row in self.rows],
                [len(row.tokens) for row in self.rows],
                self.sampling,
            ).tolist()
            clock = time.monotonic()
            now, under_way = clock - self.started, sum(row.finish is None for row in self.rows)
            share = (clock - self.stepped) / under_way
            self.stepped = clock
            ended = []
            for place, (row, token) in enumerate(zip(self.rows, chosen, strict=True)):
                if self.limits.extend(row, token, now, share):
                    row.hidden_mean = self.hidden_sum[place] / self.fed if self.fed else None
                    ended.append(row)
            self._continue_with(chosen)
            self.fed += 1
        return ended

    def _logits(self) -> Tensor:
        import torch

        # an index, not the count 1: a slice of the hidden states is strided, and `matmul` then copies the output
        # weights once for every row (1.6 GB and half of the prompt's time with 30 rows)
        last = torch.tensor([self.inputs.shape[1] - 1], device=self.mask.device)
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -self.inputs.shape[1] :]
        output = self.model(
            input_ids=self.inputs,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **({"position_ids": positions} if self.takes_positions else {}),
            **({"logits_to_keep": last} if self.keeps_logits else {}),
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _continue_with(self, chosen: list[int]) -> None:
        import torch

        open_rows = [index for index, row in enumerate(self.rows) if row.finish is None]
        if len(open_rows) < _COMPACT_BELOW * len(self.rows):
            self.rows = [self.rows[index] for index in open_rows]
            chosen = [chosen[index] for index in open_rows]
            kept = torch.tensor(open_rows, device=self.mask.device, dtype=torch.long)
            self.mask = self.mask[kept]
            self.hidden_sum = self.hidden_sum[kept]
            if open_rows:
                self.cache.batch_select_indices(kept)
        self.inputs = torch.tensor(chosen, device=self.mask.device)[:, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)


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
