"""Products of rows and a weight in which each row has the bits that its tile has alone, in this machine's fastest way.

Which ways add in the same order depends on the library, the shape and the number of threads, and so does which of them
is fast: both are found out at the first product of a shape, and not assumed. In types narrower than float32 a sum in
another order is mostly rounded to the same number, so that many results are compared.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

_LOOK_S = 0.002  # each way is looked at for so long at most, once at least
_COMPARED = 1 << 19  # results in a narrow type: in bfloat16 one in ten thousand has other bits after another order
_TELLING = 256  # inputs: sums of fewer are rounded to the same number too often

_Way = Callable[["Tensor", "Tensor", int], "Tensor"]


class _Proof(NamedTuple):
    """Rows made up, the weight that they are multiplied by, and what comes out tile by tile."""

    rows: Tensor
    weight: Tensor
    wanted: Tensor


class Products:
    """Remembers how products of each shape are made; `looked_s` are the seconds that finding it out took so far."""

    def __init__(self) -> None:
        self._ways: dict[tuple[object, ...], _Way] = {}
        self._proofs: dict[tuple[object, ...], _Proof] = {}
        self.looked_s = 0.0

    def of(self, rows: Tensor, weight: Tensor, tile: int) -> Tensor:
        """Rows (whole tiles, inputs) times a weight (outputs, inputs), each tile of rows as if it were alone."""
        import torch

        alike = (weight.shape, weight.stride(), weight.dtype, rows.device, tile, torch.get_num_threads())
        shape = (len(rows), alike)
        way = self._ways.get(shape)
        if way is None:
            with self.looking():
                if rows.dtype == torch.float32:
                    proof = _noise(len(rows), weight)
                    found = _fastest(proof, weight, tile)
                else:
                    found = self._at_once_if_alike(len(rows), weight, tile, alike)
                if found:
                    self._ways[shape] = found
                way = found or _tile_by_tile
        return way(rows, weight, tile)

    def _at_once_if_alike(self, count: int, weight: Tensor, tile: int, alike: tuple[object, ...]) -> _Way | None:
        """How so many rows are multiplied in a narrow type, where one product of all is the fastest of the ways.

        None for a weight of zeros, with which all ways are alike.
        """
        import torch

        if count == tile or weight.shape[1] < _TELLING:
            return _tile_by_tile
        proof = self._proofs.get(alike)
        if proof is None or len(proof.rows) < count:
            most = max(count, -(-_COMPARED // (len(weight) * tile)) * tile)
            rows = _noise(most, weight)
            proof = self._proofs[alike] = _Proof(rows, weight, _tile_by_tile(rows, weight, tile))
        if not proof.wanted.any():
            del self._proofs[alike]
            return None
        parts = zip(torch.split(proof.rows, count), torch.split(proof.wanted, count), strict=True)
        whole = ((part, wanted) for part, wanted in parts if len(part) == count)
        same = all(_at_once(part, proof.weight, tile).equal(wanted) for part, wanted in whole)
        return _at_once if same else _tile_by_tile

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """The block's time counts as spent on finding out, a look inside it not twice."""
        before, started = self.looked_s, time.perf_counter()
        try:
            yield
        finally:
            self.looked_s = before + time.perf_counter() - started


def _noise(count: int, weight: Tensor) -> Tensor:
    """Rows made up for a weight; the usual generator belongs to whoever set its seed."""
    import torch

    noise = torch.Generator(weight.device).manual_seed(0)
    return (torch.rand(count, weight.shape[1], generator=noise, device=weight.device) - 0.5).to(weight.dtype)


def _fastest(rows: Tensor, weight: Tensor, tile: int) -> _Way | None:
    """The fastest way to the bits of tiles one by one; None for a weight of zeros, with which all ways are alike."""
    best: _Way = _tile_by_tile
    least_s, wanted = timed(functools.partial(best, rows, weight, tile), _LOOK_S)
    if not wanted.any():
        return None
    for way in (_at_once, _tiles_side_by_side, _outputs_side_by_side):
        seconds, made = timed(functools.partial(way, rows, weight, tile), _LOOK_S)
        if seconds < least_s and made.equal(wanted):  # which it is not where a weight is not a number
            best, least_s = way, seconds
    return best


def timed(make: Callable[[], Tensor], look_s: float) -> tuple[float, Tensor]:
    """The least seconds that it took, a neighbour's burst of load only ever adds, and what it makes.

    It is made again until `look_s` have passed.
    """
    least, begun = float("inf"), time.perf_counter()
    while True:
        started = time.perf_counter()
        made = make()
        ended = time.perf_counter()
        least = min(least, ended - started)
        if ended > begun + look_s:
            return least, made


def _tile_by_tile(rows: Tensor, weight: Tensor, tile: int) -> Tensor:
    import torch
    from torch.nn.functional import linear

    parts = [linear(part, weight) for part in torch.split(rows, tile)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _at_once(rows: Tensor, weight: Tensor, _tile: int) -> Tensor:
    from torch.nn.functional import linear

    return linear(rows, weight)


def _tiles_side_by_side(rows: Tensor, weight: Tensor, tile: int) -> Tensor:
    """A batch of tiles: each core has some of them."""
    import torch

    tiles = rows.view(-1, tile, rows.shape[-1])
    return torch.bmm(tiles, weight.t().expand(len(tiles), -1, -1)).view(len(rows), -1)


def _outputs_side_by_side(rows: Tensor, weight: Tensor, tile: int) -> Tensor:
    """A batch of parts of the outputs: each core has one, where they can be divided evenly."""
    import torch

    parts = torch.get_num_threads()
    if len(weight) % parts:
        return _at_once(rows, weight, tile)
    each = weight.view(parts, -1, weight.shape[1]).transpose(1, 2)
    return torch.bmm(rows.expand(parts, -1, -1), each).transpose(0, 1).reshape(len(rows), -1)
