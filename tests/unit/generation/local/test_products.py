"""Whatever way a product is made, rows have the bits of their tile alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn.functional import linear

from pytest_llmbench.generation.local import products
from pytest_llmbench.generation.local.products import Products

TILE = 16


@pytest.fixture(autouse=True)
def _threads_come_back() -> Iterator[None]:
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


def alone(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.cat([linear(rows[at : at + TILE], weight) for at in range(0, len(rows), TILE)])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(576, 64), (9, 64), (64, 8), (1, 64)])
def test_rows_have_the_bits_of_their_tile(shape: tuple[int, int], dtype: torch.dtype, threads: int) -> None:
    torch.manual_seed(shape[0])
    torch.set_num_threads(threads)
    made, weight = Products(), torch.randn(shape).to(dtype)
    for tiles in (1, 2, 3, 2):
        rows = torch.randn(tiles * TILE, shape[1]).to(dtype)
        assert torch.equal(made.of(rows, weight, TILE), alone(rows, weight))


def test_a_way_with_other_bits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def otherwise(rows: torch.Tensor, weight: torch.Tensor, _tile: int) -> torch.Tensor:
        return linear(rows.double(), weight.double()).float()  # no sum is the same to the last bit

    for way in ("_at_once", "_tiles_side_by_side", "_outputs_side_by_side"):
        monkeypatch.setattr(products, way, otherwise)
    rows, weight = torch.randn(2 * TILE, 64), torch.randn(32, 64)
    assert not torch.equal(otherwise(rows, weight, TILE), alone(rows, weight))
    made = Products()
    for _ in range(2):
        assert torch.equal(made.of(rows, weight, TILE), alone(rows, weight))


@pytest.mark.parametrize("inputs", [256, 576])
def test_in_a_narrow_type_another_order_is_found_out(inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most results are rounded alike whatever the order of their sum: a look at a few of them proves nothing."""

    def otherwise(rows: torch.Tensor, weight: torch.Tensor, _tile: int) -> torch.Tensor:
        turned = torch.randperm(inputs, generator=torch.Generator().manual_seed(1))
        return linear(rows[:, turned], weight[:, turned])

    monkeypatch.setattr(products, "_at_once", otherwise)
    made, weight = Products(), torch.randn(96, inputs).bfloat16()
    for tiles in (2, 3, 5):
        rows = torch.randn(tiles * TILE, inputs).bfloat16()
        assert torch.equal(made.of(rows, weight, TILE), alone(rows, weight))
    differing = sum(
        int((otherwise(rows, weight, TILE) != alone(rows, weight)).sum())
        for rows in (torch.randn(2 * TILE, inputs).bfloat16() for _ in range(200))
    )
    assert 0 < differing < 200 * 2 * TILE * 96 / 1000


def test_in_a_narrow_type_one_product_of_all_rows_is_made_where_its_bits_are_those_of_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def tiles_at_once(rows: torch.Tensor, weight: torch.Tensor, _tile: int) -> torch.Tensor:
        asked.append(len(rows))
        return alone(rows, weight)

    monkeypatch.setattr(products, "_at_once", tiles_at_once)
    made, weight, rows = Products(), torch.randn(96, 256).bfloat16(), torch.randn(3 * TILE, 256).bfloat16()
    made.of(rows, weight, TILE)
    looks = len(asked)
    assert sum(asked) * 96 > 500_000 * 0.99
    for _ in range(2):
        assert torch.equal(made.of(rows, weight, TILE), alone(rows, weight))
    assert len(asked) == looks + 2
    assert torch.equal(made.of(rows[:TILE], weight, TILE), linear(rows[:TILE], weight))
    assert len(asked) == looks + 2


def test_weights_that_are_no_numbers_are_multiplied_all_the_same() -> None:
    made = Products().of(torch.ones(2 * TILE, 64), torch.full((32, 64), torch.nan), TILE)
    assert made.isnan().all()


def test_the_seed_of_others_is_left_alone() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    Products().of(torch.ones(2 * TILE, 64), torch.ones(32, 64), TILE)
    assert torch.equal(torch.rand(1), wanted)


def test_a_weight_of_zeros_decides_nothing_for_those_that_come_after(monkeypatch: pytest.MonkeyPatch) -> None:
    made, rows = Products(), torch.randn(2 * TILE, 64)
    assert not made.of(rows, torch.zeros(32, 64), TILE).any()
    monkeypatch.setattr(products, "_fastest", lambda *_: lambda *_: torch.ones(1))
    assert torch.equal(made.of(rows, torch.randn(32, 64), TILE), torch.ones(1))


def test_a_narrow_weight_of_zeros_decides_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def otherwise(rows: torch.Tensor, weight: torch.Tensor, _tile: int) -> torch.Tensor:
        return linear(rows.double(), weight.double()).bfloat16() * 2

    monkeypatch.setattr(products, "_at_once", otherwise)
    made, rows = Products(), torch.randn(2 * TILE, 256).bfloat16()
    assert not made.of(rows, torch.zeros(32, 256).bfloat16(), TILE).any()
    weight = torch.randn(32, 256).bfloat16()
    assert torch.equal(made.of(rows, weight, TILE), alone(rows, weight))
