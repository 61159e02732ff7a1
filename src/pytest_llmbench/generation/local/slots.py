"""Keys and values of many rows, a slot each, and attention over them without padding between the rows.

Prompts are read in blocks of 32 positions; the queries of a block see the keys up to its end.
A token of a decoding step sees keys up to the next multiple of 64. So the shapes that a row's attention is computed in
depend on its own positions, and not on the lengths, the number or the places of its neighbours.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32
SEEN = 64  # keys that a decoding step sees are a multiple of this
_QUERIES = 8  # fewer queries a head than 4 are multiplied by other kernels, which add in another order
_ALIGNED = 64  # bytes
ATTENTION = "llmbench_rows"

Snapshot = Mapping[int, tuple["Tensor", "Tensor"]]
"""Keys and values of the first positions of a row, by layer: (positions, heads, size)."""


class Slots:
    """The cache: for each layer keys and values of (slots + 1) x capacity positions; the last slot is scratch."""

    def __init__(self, count: int) -> None:
        self.count, self.capacity = count, 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def reserve(self, positions: int) -> None:
        """Make room for so many positions in each slot; where that is more than before, nothing is kept."""
        if positions > self.capacity:
            self.capacity = -(-positions // SEEN) * SEEN
            self._layers.clear()

    def write(self, layer: int, places: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put (tokens, heads, size) to `slot * capacity + position`; returns all of the layer."""
        kept = self._layer(layer, keys, values)
        for cache, new in zip(kept, (keys, values), strict=True):
            cache.view(-1, *cache.shape[2:]).index_copy_(0, places, new)
        return kept

    def snapshot(self, slot: int, positions: int) -> Snapshot:
        """A copy of a slot's first positions."""
        return {
            index: (keys[slot, :positions].clone(), values[slot, :positions].clone())
            for index, (keys, values) in self._layers.items()
        }

    def restore(self, slot: int, snapshot: Snapshot, positions: int) -> None:
        """Put the first positions of a copy into a slot."""
        for index, kept in snapshot.items():
            for cache, copy in zip(self._layer(index, *kept), kept, strict=True):
                cache[slot, :positions] = copy[:positions]

    def move(self, source: int, target: int, positions: int) -> None:
        """Copy a row to another slot."""
        for kept in self._layers.values():
            for cache in kept:
                cache[target, :positions] = cache[source, :positions]

    def clear(self, slot: int, start: int) -> None:
        """Forget a slot's positions from one on: attention reads to the end of a block, and NaN outlasts its mask."""
        for kept in self._layers.values():
            for cache in kept:
                cache[slot, start:] = 0

    def _layer(self, index: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer; made for (…, heads, size) like those given where there are none yet."""
        if index not in self._layers:
            shape = (self.count + 1, self.capacity)
            self._layers[index] = _zeros(keys, *shape, *keys.shape[1:]), _zeros(values, *shape, *values.shape[1:])
        return self._layers[index]


def _zeros(like: Tensor, *shape: int) -> Tensor:
    """Zeros of the type and device of another tensor; on a CPU in memory that takes room only once it is written to.

    It begins where PyTorch's own would: products may round otherwise from another place on.
    """
    import numpy as np
    import torch

    if like.device.type != "cpu":
        return like.new_zeros(shape)
    size = math.prod(shape) * like.itemsize
    memory = np.zeros(size + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return torch.from_numpy(memory[start : start + size]).view(like.dtype).view(shape)


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of one row to be read, from a position on."""

    slot: int
    start: int
    tokens: Sequence[int]


class Reading:
    """Attention while pieces of prompts are read, one after the other in one row of tokens."""

    def __init__(self, slots: Slots, pieces: Sequence[Piece], length: int, device: Any) -> None:
        """`length` is that of all tokens with the filling at their end."""
        import torch

        self._slots, self._device = slots, device
        slot_of: list[int] = []
        position: list[int] = []
        blocks: list[tuple[int, int]] = []
        for number, piece in enumerate(pieces):
            slot_of += [piece.slot] * len(piece.tokens)
            position += range(piece.start, piece.start + len(piece.tokens))
            blocks += [(block, number) for block in range(piece.start // BLOCK, position[-1] // BLOCK + 1)]
        blocks.sort()
        order = {block: row for row, block in enumerate(blocks)}
        number_of = [number for number, piece in enumerate(pieces) for _ in piece.tokens]
        queries = [
            order[place // BLOCK, number] * BLOCK + place % BLOCK
            for place, number in zip(position, number_of, strict=True)
        ]
        self._tokens = len(position)
        filled = [0] * (length - self._tokens)
        at = [slot * slots.capacity + place for slot, place in zip(slot_of, position, strict=True)]
        scratch = range(slots.count * slots.capacity, slots.count * slots.capacity + len(filled))
        self.positions = torch.tensor([position + filled], device=device)
        self._places = torch.tensor([*at, *(scratch[min(i, slots.capacity - 1)] for i in range(len(filled)))])
        self._places = self._places.to(device)
        self._queries = torch.tensor(queries, device=device)
        self._groups = [
            (index, torch.tensor([pieces[number].slot for _, number in group], device=device))
            for index, group in ((i, list(g)) for i, g in itertools.groupby(blocks, key=lambda block: block[0]))
        ]
        self._masks: dict[tuple[int, int | None, int], Tensor] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float | None, window: int | None) -> Tensor:
        """(tokens, heads, size) of queries, keys and values to (tokens, heads, size)."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        keys, values = self._slots.write(layer, self._places, k, v)
        heads, shared = k.shape[1], q.shape[1] // k.shape[1]
        blocks = sum(len(slots) for _, slots in self._groups)
        asked = q.new_zeros(blocks * BLOCK, *q.shape[1:])
        asked[self._queries] = q[: self._tokens]
        asked = asked.view(blocks, BLOCK, heads, shared, -1).permute(0, 2, 3, 1, 4).flatten(2, 3)
        parts, first = [], 0
        for index, slots in self._groups:
            seen = (index + 1) * BLOCK
            parts.append(
                scaled_dot_product_attention(
                    asked[first : first + len(slots)],
                    keys[slots, :seen].transpose(1, 2),
                    values[slots, :seen].transpose(1, 2),
                    attn_mask=self._mask(index, window, shared, q),
                    scale=scale,
                )
            )
            first += len(slots)
        told = torch.unflatten(torch.cat(parts), 2, (shared, BLOCK)).permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)
        made = q.new_zeros(q.shape[0], q.shape[1], v.shape[-1])
        made[: self._tokens] = told[self._queries]
        return made

    def _mask(self, index: int, window: int | None, shared: int, like: Tensor) -> Tensor:
        import torch

        key = index, window, shared
        if key not in self._masks:
            asking = torch.arange(index * BLOCK, (index + 1) * BLOCK, device=like.device)[:, None]
            seen = torch.arange((index + 1) * BLOCK, device=like.device)[None]
            self._masks[key] = _bias(asking, seen, window, like).repeat(shared, 1)
        return self._masks[key]


class Stepping:
    """Attention of a decoding step: one token, or a few that follow each other, in some slots; all in one row."""

    def __init__(self, slots: Slots, pieces: Sequence[Piece], length: int, device: Any, *, exact: bool) -> None:
        """`length` is that of all tokens with the filling at their end.

        With `exact` no row's shapes depend on its neighbours; a piece must not cross a multiple of `SEEN`.
        """
        import torch

        self._slots, self._device = slots, device
        positions = [piece.start + place for piece in pieces for place in range(len(piece.tokens))]
        self._tokens = len(positions)
        filled = [0] * (length - self._tokens)
        starts = [piece.slot * slots.capacity for piece in pieces for _ in piece.tokens]
        at = [start + place for start, place in zip(starts, positions, strict=True)]
        self.positions = torch.tensor([positions + filled], device=device)
        self._places = torch.tensor(at + [slots.count * slots.capacity] * len(filled), device=device)
        self._pieces = {piece.slot: piece for piece in pieces}
        self._slot_of = [(piece.slot, place) for piece in pieces for place in range(len(piece.tokens))]
        runs = _runs(self._pieces)
        self._runs = runs if exact else [_Run(0, runs[-1].end, max(r.seen for r in runs), max(r.width for r in runs))]
        self._queries: dict[tuple[int, int], Tensor] = {}
        self._biases: dict[tuple[int, int | None, int], Tensor] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float | None, window: int | None) -> Tensor:
        """(tokens, heads, size) of queries, keys and values to (tokens, heads, size)."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        keys, values = self._slots.write(layer, self._places, k, v)
        heads, shared = k.shape[1], q.shape[1] // k.shape[1]
        sizes = [(run.end - run.first) * heads * run.queries(shared) for run in self._runs]
        at = self._at(heads, shared, q.device)
        asked = q.new_zeros(sum(sizes), q.shape[-1])
        asked.index_copy_(0, at, q[: self._tokens].flatten(0, 1))
        told = v.new_zeros(sum(sizes), v.shape[-1])
        for run, mine, answer in zip(self._runs, torch.split(asked, sizes), torch.split(told, sizes), strict=True):
            shape = (run.end - run.first, heads, run.queries(shared), -1)
            answer.view(shape).copy_(
                scaled_dot_product_attention(
                    mine.view(shape),
                    keys[run.first : run.end, : run.seen].transpose(1, 2),
                    values[run.first : run.end, : run.seen].transpose(1, 2),
                    attn_mask=self._bias(run, window, shared, q),
                    scale=scale,
                )
            )
        made = q.new_zeros(q.shape[0], q.shape[1], v.shape[-1])
        made[: self._tokens] = told.index_select(0, at).view(self._tokens, q.shape[1], -1)
        return made

    def _at(self, heads: int, shared: int, device: Any) -> Tensor:
        """Where each token's queries, head by head, stand among those of all runs."""
        import torch

        key = heads, shared
        if key not in self._queries:
            found: dict[int, tuple[int, int]] = {}
            start = 0
            for run in self._runs:
                for slot in range(run.first, run.end):
                    found[slot] = start, run.queries(shared)
                    start += heads * run.queries(shared)
            self._queries[key] = torch.tensor(
                [
                    found[slot][0] + head * found[slot][1] + place * shared + one
                    for slot, place in self._slot_of
                    for head in range(heads)
                    for one in range(shared)
                ],
                device=device,
            )
        return self._queries[key]

    def _bias(self, run: _Run, window: int | None, shared: int, like: Tensor) -> Tensor:
        import torch

        key = run.first, window, shared
        if key not in self._biases:
            asking = torch.tensor([self._asking(slot, run, shared) for slot in range(run.first, run.end)])
            seen = torch.arange(run.seen, device=like.device)
            self._biases[key] = _bias(asking.to(like.device)[:, None, :, None], seen, window, like)
        return self._biases[key]

    def _asking(self, slot: int, run: _Run, shared: int) -> list[int]:
        """The positions of a slot's queries; one for all where they are the same."""
        piece = self._pieces.get(slot)
        start, count = (piece.start, len(piece.tokens)) if piece else (0, 1)
        if run.width == 1:
            return [start]
        return [start + min(query // shared, count - 1) for query in range(run.queries(shared))]


def attend(  # what transformers hands to an attention function
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _attention_mask: Tensor | None,
    *,
    llmbench_rows: Reading | Stepping,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' models over slots; (1, heads, tokens, size) to (1, tokens, heads, size).

    Raises:
        NotImplementedError: the model asks for what this attention does not do.
    """
    if odd := sorted(name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None):
        raise NotImplementedError(f"attention with {odd[0]}")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return llmbench_rows.attend(module.layer_idx, q, k, v, scaling, sliding_window)[None], None


def _bias(asking: Tensor, seen: Tensor, window: int | None, like: Tensor) -> Tensor:
    """0 where a query sees a key, else minus infinity."""
    import torch

    hidden = seen > asking
    if window:
        hidden = hidden | (seen <= asking - window)
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    return torch.where(hidden, zero - torch.inf, zero)


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring slots that see equally many keys; `width` is the most tokens that one of them has."""

    first: int
    end: int
    seen: int
    width: int

    def queries(self, shared: int) -> int:
        """Those of a slot for each head of keys, with filling."""
        return -(-self.width * shared // _QUERIES) * _QUERIES


def _runs(pieces: Mapping[int, Piece]) -> list[_Run]:
    """A free slot goes with the one before it."""
    found: list[_Run] = []
    for slot in range(max(pieces) + 1):
        piece = pieces.get(slot)
        ends, width = (piece.start + len(piece.tokens), len(piece.tokens)) if piece else (1, 1)
        seen = -(-ends // SEEN) * SEEN
        if found and (found[-1].seen == seen or not piece):
            found[-1] = dataclasses.replace(found[-1], end=slot + 1, width=max(width, found[-1].width))
        else:
            found.append(_Run(slot, slot + 1, seen, width))
    return found
