"""What the rows of one forward are: in which tiles they are worked on, and which of them are an adapter's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.generation.local.products import Products

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

STEP, READ = 16, 64
"""Rows of a tile in decoding and in reading prompts. Answers of other tiles are other answers."""


class Columns(NamedTuple):
    """Where an adapter's ranks stand among those of all, and what they are multiplied by."""

    adapter: str
    start: int
    end: int
    scaling: float


@dataclasses.dataclass(frozen=True, slots=True)
class OwnRows:
    """One adapter's rows: their places in the batch, and these filled up to whole tiles with the first of them."""

    places: Tensor
    filled: Tensor


@dataclasses.dataclass(slots=True)
class Layout:
    """What the rows at hand are: the size of tiles (0: whole products), and the rows of each adapter by PEFT's name.

    `products` and `ways` remember how products and low-rank parts of each shape are made, `parts` what was found out
    about each layer's adapters.
    """

    tile: int = 0
    adapters: Mapping[str, OwnRows] = dataclasses.field(default_factory=dict)
    products: Products = dataclasses.field(default_factory=Products)
    ways: dict[tuple[object, ...], Callable[..., None]] = dataclasses.field(default_factory=dict)
    parts: dict[Module, Any] = dataclasses.field(default_factory=dict)
    _rows: int = 0
    _scales: dict[tuple[Columns, ...], Tensor] = dataclasses.field(default_factory=dict)

    def change(self, tile: int, rows: int, adapters: Mapping[str, list[int]], device: torch.device) -> None:
        """Have what holds for the next forward, of so many rows."""
        import torch

        self.tile, self._rows = tile, rows
        self._scales.clear()
        self.adapters = {}
        for name, places in adapters.items():
            filled = places + places[:1] * (-len(places) % tile if tile else 0)
            own = torch.tensor(filled, device=device)
            self.adapters[name] = OwnRows(own[: len(places)], own)

    def of_one(self, adapter: str, rows: int, device: torch.device) -> Layout:
        """The same where all of so many rows are of one adapter."""
        alone = Layout(products=self.products)
        alone.change(self.tile, rows, {adapter: list(range(rows))}, device)
        return alone

    def product(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Rows (whole tiles, inputs) times a weight (outputs, inputs)."""
        from torch.nn.functional import linear

        return self.products.of(rows, weight, self.tile) if self.tile else linear(rows, weight)

    def scales(self, columns: tuple[Columns, ...]) -> Tensor:
        """What the ranks of all adapters are multiplied by: a row's own scaling, 0 elsewhere; (rows, ranks of all)."""
        import torch

        if columns not in self._scales:
            places = next(iter(self.adapters.values())).places
            made = self._scales[columns] = torch.zeros(self._rows, columns[-1].end, device=places.device)
            for adapter, start, end, scaling in columns:
                if adapter in self.adapters:
                    made[:, start:end].index_fill_(0, self.adapters[adapter].places, scaling)
        return self._scales[columns]
