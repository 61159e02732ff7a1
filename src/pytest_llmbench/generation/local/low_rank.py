"""The low-rank parts that adapters add to a layer's product, each on its own rows of one batch.

One adapter after the other takes a dozen small operations each, in each of a model's hundreds of layers. All together
take five: every row times every adapter's weights, and what is not a row's own set to zero (S-LoRA,
https://arxiv.org/abs/2311.03285, gathers instead, with kernels of its own). Zeros change no sum, but another shape may
get another kernel: only what was found to have the bits of one adapter at a time is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.generation.local.layout import Columns, Layout
from pytest_llmbench.generation.local.products import timed

if TYPE_CHECKING:
    from torch import Tensor

_LOOK_S = 0.001  # each way is looked at for so long at most, once at least

Way = Callable[["LowRank", "Tensor", "Tensor", Layout], None]
"""Adds the parts to the first tensor, (rows, outputs), which are made of the second, (rows, inputs)."""


class LowRank:
    """What the adapters of one layer add; `layer` is PEFT's plain LoRA of a linear layer."""

    def __init__(self, layer: Any) -> None:
        self.names: Sequence[str] = tuple(layer.lora_A)
        self.downs = [layer.lora_A[name].weight for name in self.names]
        self.ups = [layer.lora_B[name].weight for name in self.names]
        self.scalings = [float(layer.scaling[name]) for name in self.names]
        self._known, self._ranks = frozenset(self.names), tuple(map(len, self.downs))
        self._unproven: set[tuple[object, ...]] = set()

    def add(self, made: Tensor, rows: Tensor, layout: Layout) -> None:
        """Add each adapter's part to its rows of `made`, (rows, outputs), by what comes in, `rows`, (rows, inputs)."""
        if layout.adapters.keys() & self._known:
            self._way(made, rows, layout)(self, made, rows, layout)

    def rest(self) -> None:
        """Hold the weights once only, until the next call of `add`; what is known of them stays."""
        self.__dict__.pop("together", None)

    @functools.cached_property
    def together(self) -> tuple[Tensor, Tensor]:
        """All adapters' weights side by side: (ranks of all, inputs) and (outputs, ranks of all)."""
        import torch

        return torch.cat(self.downs), torch.cat(self.ups, dim=1)

    @functools.cached_property
    def columns(self) -> tuple[Columns, ...]:
        """Where each adapter stands in `together`."""
        ends = [sum(len(down) for down in self.downs[: at + 1]) for at in range(len(self.downs))]
        starts = [end - len(down) for end, down in zip(ends, self.downs, strict=True)]
        return tuple(map(Columns, self.names, starts, ends, self.scalings))

    @functools.cached_property
    def _may_share(self) -> bool:
        """Whether bits tell ways apart, and nothing times a weight is nothing: else the rows of others are spoilt."""
        import torch

        weights = (*self.downs, *self.ups)
        return all(weight.dtype == torch.float32 and bool(torch.isfinite(weight).all()) for weight in weights)

    def _way(self, made: Tensor, rows: Tensor, layout: Layout) -> Way:
        """How it is done fastest; one by one where bits are not to be kept, or cannot be told apart so easily."""
        import torch

        if not layout.tile or not self._may_share:
            return _one_by_one
        shape = (rows.shape, rows.dtype, made.shape, made.dtype, self._ranks, layout.tile, torch.get_num_threads())
        if shape in self._unproven:
            return _one_by_one
        if shape not in layout.ways:
            with layout.products.looking():
                found = self._fastest(made, rows, layout)
            if found is None:
                self._unproven.add(shape)
                return _one_by_one
            layout.ways[shape] = found
        return layout.ways[shape]

    def _fastest(self, made: Tensor, rows: Tensor, layout: Layout) -> Way | None:
        """The fastest, for the rows at hand, of the ways that give any row of any adapter the bits of one by one.

        None where an adapter adds nothing: all ways are alike then.
        """
        import torch

        noise = torch.Generator(rows.device).manual_seed(0)  # the usual one belongs to whoever set its seed
        proof = torch.rand(rows.shape, generator=noise, device=rows.device).to(rows.dtype) - 0.5
        ways = [_together, *([_batched] if len(set(self._ranks)) == 1 else [])]
        for name in self.names:
            alone = layout.of_one(name, len(rows), rows.device)
            wanted = self._added(_one_by_one, made, proof, alone)
            if not wanted.any():
                return None
            ways = [way for way in ways if self._added(way, made, proof, alone).equal(wanted)]

        def seconds(way: Way) -> float:
            return timed(functools.partial(self._added, way, made, proof, layout), _LOOK_S)[0]

        return min((_one_by_one, *ways), key=seconds)

    def _added(self, way: Way, made: Tensor, rows: Tensor, layout: Layout) -> Tensor:
        import torch

        nothing = torch.zeros_like(made)
        way(self, nothing, rows, layout)
        return nothing


def ways_told(layout: Layout) -> str | None:
    """How parts were made so far, as a run's JSON has it; None where none were, or no way but one by one was tried."""
    if not layout.ways:
        return None
    return "one by one" if set(layout.ways.values()) == {_one_by_one} else "side by side"


def _one_by_one(parts: LowRank, made: Tensor, rows: Tensor, layout: Layout) -> None:
    for name, down, up, scaling in zip(parts.names, parts.downs, parts.ups, parts.scalings, strict=True):
        if name in layout.adapters:
            own = layout.adapters[name]
            inner = layout.product(rows.index_select(0, own.filled).to(down.dtype), down) * scaling
            part = layout.product(inner, up)[: len(own.places)]
            # `index_add_` would wake every core for a few rows
            made.index_copy_(0, own.places, made.index_select(0, own.places) + part.to(made.dtype))


def _together(parts: LowRank, made: Tensor, rows: Tensor, layout: Layout) -> None:
    down, up = parts.together
    inner = layout.product(rows.to(down.dtype), down) * layout.scales(parts.columns)
    made += layout.product(inner, up).to(made.dtype)


def _batched(parts: LowRank, made: Tensor, rows: Tensor, layout: Layout) -> None:
    """As `_together`, with a product for each adapter's first half: its sums are then those of its own few ranks."""
    import torch

    down, up = parts.together
    count = len(parts.names)
    each = down.view(count, -1, down.shape[1]).transpose(1, 2)
    inner = torch.bmm(rows.to(down.dtype).expand(count, -1, -1), each).transpose(0, 1).reshape(len(rows), -1)
    made += layout.product(inner * layout.scales(parts.columns), up).to(made.dtype)
