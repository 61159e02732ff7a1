"""A row's bits depend on the row alone: not on how many tiles there are, nor on threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pytest_llmbench.generation.local.layout import READ, STEP, Layout
from pytest_llmbench.generation.local.tiles import laid_out


@pytest.fixture(autouse=True)
def _threads_come_back() -> Iterator[None]:
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


class OneLayer(torch.nn.Module):
    """A model whose only layer is no output layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(inputs, outputs)

    def get_output_embeddings(self) -> None:
        return None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tile", [STEP, READ])
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [(1, 64), (64, 1), (2, 576), (576, 2), (64, 7), (576, 10), (64, 128), (576, 16), (576, 192), (1536, 576)],
)
def test_rows_have_the_bits_that_they_have_in_a_tile_of_their_own(
    threads: int, tile: int, inputs: int, outputs: int
) -> None:
    torch.manual_seed(inputs + outputs)
    model, rows = OneLayer(inputs, outputs), torch.randn(4 * tile + 3, inputs)
    torch.set_num_threads(1)
    with torch.inference_mode(), laid_out(model, Layout(tile), mixed=False, exact=True):
        alone = torch.cat([model.layer(row[None]) for row in rows])
        torch.set_num_threads(threads)
        for count in (tile, tile + 1, 2 * tile, 3 * tile - 1, len(rows)):
            assert torch.equal(model.layer(rows[:count]), alone[:count])
