"""What an adapter adds to its rows depends on it and on them alone, however many adapters share the batch."""

from __future__ import annotations

import collections
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from pytest_llmbench.generation.local import low_rank
from pytest_llmbench.generation.local.layout import READ, STEP, Layout
from pytest_llmbench.generation.local.tiles import laid_out

DEVICE = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")


class OneLayer(torch.nn.Module):
    """A model whose only layer is no output layer."""

    layer: Any  # PEFT puts one of its own in its place

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(inputs, outputs, bias=False)

    def get_output_embeddings(self) -> None:
        return None


def adapted(inputs: int, outputs: int, ranks: dict[str, int], *, trained: bool = True) -> OneLayer:
    """The model with an adapter of each rank, whose weights its name decides; the same base each time."""
    torch.manual_seed(0)
    model = OneLayer(inputs, outputs)
    for name, rank in ranks.items():
        config = LoraConfig(r=rank, lora_alpha=3 * rank, target_modules=["layer"], init_lora_weights=not trained)
        inject_adapter_in_model(config, model, adapter_name=name)
        torch.manual_seed(ord(name))
        for weight in (model.layer.lora_A[name].weight, *([model.layer.lora_B[name].weight] if trained else [])):
            torch.nn.init.normal_(weight)
    return model


def answered(model: OneLayer, tile: int, x: torch.Tensor, whose: list[str]) -> torch.Tensor:
    """The layer's answer to rows, each of the adapter that is named; '-' is the base."""
    layout, filled = Layout(), torch.nn.functional.pad(x, (0, 0, 0, -len(x) % tile))
    rows = {name: [at for at, own in enumerate(whose) if own == name] for name in set(whose) - {"-"}}
    layout.change(tile, len(filled), rows, DEVICE)
    with torch.inference_mode(), laid_out(model, layout, mixed=True, exact=True):
        made = model.layer(filled)
        assert torch.equal(model.layer(filled), made)  # as it is found out, and as it is remembered
    assert isinstance(made, torch.Tensor)
    return made[: len(x)]


@pytest.mark.parametrize("tile", [STEP, READ])
@pytest.mark.parametrize("ranks", [{"a": 8}, {"a": 8, "b": 8, "c": 8}, {"a": 1, "b": 2}])
@pytest.mark.parametrize(("inputs", "outputs"), [(576, 192), (192, 576)])
def test_rows_have_the_bits_that_they_have_where_their_adapter_is_the_only_one(
    inputs: int, outputs: int, ranks: dict[str, int], tile: int
) -> None:
    x = torch.randn(2 * tile + 3, inputs, generator=torch.Generator().manual_seed(1))
    whose = [("-", *ranks)[at % (1 + len(ranks))] for at in range(len(x))]
    together = answered(adapted(inputs, outputs, ranks), tile, x, whose)
    for name in ("-", *ranks):
        own = [at for at, one in enumerate(whose) if one == name]
        alone = adapted(inputs, outputs, {name: ranks[name]} if name in ranks else {"z": 8})
        assert torch.equal(together[own], answered(alone, tile, x[own], [name] * len(own)))


@pytest.mark.parametrize("way", [low_rank._together, low_rank._batched])
def test_each_way_adds_the_part_of_each_adapter_to_its_own_rows(way: low_rank.Way) -> None:
    model = adapted(64, 32, {"a": 8, "b": 8})
    layout, rows = Layout(), torch.randn(STEP, 64)
    layout.change(STEP, STEP, {"b": [1, 2], "a": [5]}, DEVICE)
    parts, made = low_rank.LowRank(model.layer), torch.zeros(STEP, 32)
    with torch.inference_mode():
        way(parts, made, rows, layout)
    wanted = torch.zeros(STEP, 32)
    for at, name in ((1, "b"), (2, "b"), (5, "a")):
        down, up = (parts_of[name].weight for parts_of in (model.layer.lora_A, model.layer.lora_B))
        wanted[at] = up @ (down @ rows[at]) * 3
    assert torch.allclose(made, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("way", [low_rank._together, low_rank._batched])
@pytest.mark.parametrize(("part", "value"), [("lora_A", "nan"), ("lora_A", "inf"), ("lora_B", "nan")])
def test_weights_that_are_no_numbers_spoil_the_rows_of_no_other_adapter(
    monkeypatch: pytest.MonkeyPatch, way: low_rank.Way, part: str, value: str
) -> None:
    """A way is proven on one layer and taken in all of its shape, broken ones too."""
    monkeypatch.setattr(low_rank.LowRank, "_fastest", lambda *_: way)
    layout, rows = Layout(), torch.randn(STEP, 64)
    layout.change(STEP, STEP, {"a": [1], "b": [2, 5]}, DEVICE)
    added = []
    for broken in (False, True):
        model = adapted(64, 32, {"a": 8, "b": 8})
        if broken:
            getattr(model.layer, part)["a"].weight.data[:, 0] = float(value)
        added.append(torch.zeros(STEP, 32))
        with torch.inference_mode():
            low_rank.LowRank(model.layer).add(added[-1], rows, layout)
    whole, spoilt = added
    assert not spoilt[1].isfinite().all()
    others = [0, *range(2, STEP)]
    assert torch.allclose(spoilt[others], whole[others], rtol=1e-4, atol=1e-3)


def test_an_adapter_that_adds_nothing_proves_no_way_and_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = collections.Counter[str]()
    usual = low_rank.LowRank._fastest

    def counted(*given: Any) -> low_rank.Way | None:
        looks["fastest"] += 1
        return usual(*given)

    def finite(weight: torch.Tensor) -> torch.Tensor:
        looks["finite"] += 1
        return torch.ones_like(weight, dtype=torch.bool)

    monkeypatch.setattr(low_rank.LowRank, "_fastest", counted)
    monkeypatch.setattr(torch, "isfinite", finite)
    model, layout = adapted(64, 32, {"a": 8}, trained=False), Layout()
    layout.change(STEP, STEP, {"a": [0]}, DEVICE)
    for _ in range(3):  # as often as answers are asked for
        with torch.inference_mode(), laid_out(model, layout, mixed=True, exact=True):
            model.layer(torch.ones(STEP, 64))
            model.layer(torch.ones(STEP, 64))
    assert (looks, layout.ways, low_rank.ways_told(layout)) == ({"fastest": 1, "finite": 2}, {}, None)


def test_weights_side_by_side_are_let_go_of_after_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rank.LowRank, "_fastest", lambda *_: low_rank._together)
    model, layout = adapted(64, 32, {"a": 8, "b": 8}), Layout()
    layout.change(STEP, STEP, {"a": [0], "b": [1]}, DEVICE)
    with torch.inference_mode(), laid_out(model, layout, mixed=True, exact=True):
        model.layer(torch.ones(STEP, 64))
        assert all("together" in vars(parts) for parts in layout.parts.values())
    assert not any("together" in vars(parts) for parts in layout.parts.values())
    assert low_rank.ways_told(layout) == "side by side"
