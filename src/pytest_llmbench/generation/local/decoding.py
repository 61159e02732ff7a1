"""A batch of answers growing token by token; a row leaves the batch the moment its answer ends.

`generate` keeps every row until the longest is done. Dropping finished rows is most of the speed when a fine-tune
answers in 15 tokens and a neighbour rambles for 128; it also lets each answer be journaled, and timed out, on its own.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.generation.local.sampling import choose
from pytest_llmbench.generation.rows import Limits, Row
from pytest_llmbench.generation.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor


_COMPACT_BELOW = 0.8  # copying the cache costs about one step: worth it once a fifth of the rows are done


def _tell_nobody(_rows: Sequence[Row]) -> None:
    """Nobody watches the answers grow."""


def is_split(model: Any) -> bool:
    """Whether the model's layers lie on several devices. Those that are put off a GPU come to it when they compute."""
    return len({weight.device for weight in model.parameters() if not weight.is_meta}) > 1


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
    """Left-padded rows, their attention mask and their key-value cache.

    Layers may lie on several devices: what belongs to all of them is where the embedding is, and indices are on the
    CPU, which serve tensors of every device.
    """

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
        self.is_split = is_split(model)
        accepted = inspect.signature(model.forward).parameters
        self.keeps_logits = "logits_to_keep" in accepted
        self.takes_positions = "position_ids" in accepted
        self.cache_name = "cache" if "cache" in accepted else "past_key_values"  # as of transformers 5.24, and before

    def keep_hidden(self, _module: Any, _args: Any, output: Any) -> None:
        """Forward hook of the decoder: the last position's hidden state, (rows, hidden size)."""
        self.hidden = output.last_hidden_state[:, -1].float().to(self.mask.device)

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
            self._continue_with([max(0, token) for token in chosen])  # who has failed is in it for some steps yet
            self.fed += 1
        return ended

    def _logits(self) -> Tensor:
        import torch

        # an index, not the count 1: a slice of the hidden states is strided, and `matmul` then copies the output
        # weights once for every row (1.6 GB and half of the prompt's time with 30 rows)
        place = torch.tensor([self.inputs.shape[1] - 1], device=self.mask.device)
        last = 1 if self.is_split else place  # accelerate brings an index to the first device, where no state is then
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -self.inputs.shape[1] :]
        output = self.model(
            input_ids=self.inputs,
            attention_mask=self.mask,
            use_cache=True,
            **{self.cache_name: self.cache},
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
            kept = torch.tensor(open_rows, dtype=torch.long)
            self.mask = self.mask[kept]
            self.hidden_sum = self.hidden_sum[kept]
            if open_rows:
                self.cache.batch_select_indices(kept)
        self.inputs = torch.tensor(chosen, device=self.mask.device)[:, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
