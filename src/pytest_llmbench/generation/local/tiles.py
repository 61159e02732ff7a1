"""Products over tiles of a fixed number of rows, and the low-rank parts of several adapters in one batch.

A library picks its kernel by a product's shape, and another kernel adds in another order: the same row in a batch of
another size then differs in its last bits, and sampling may take another token. Over tiles of one size a row's bits
depend on the row alone (the idea of "batch-invariant" modes of serving engines). In one pass over the rows of all
variants the base's products are made once, and each adapter adds its part to its own rows.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_llmbench.generation.local.layout import STEP, Layout
from pytest_llmbench.generation.local.low_rank import LowRank

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def laid_out(model: Any, layout: Layout, *, mixed: bool, exact: bool) -> Iterator[None]:
    """Inside the block the model's layers work as `layout` says at each forward; afterwards they are as before.

    Args:
        model: a causal language model, PEFT's layers in it or not.
        layout: changed between forwards by whoever calls the model.
        mixed: whether adapters work on their rows alone; else they are switched for all rows, as PEFT does.
        exact: whether linear layers work in tiles.
    """
    changed = []
    try:
        for module, forward in _forwards(model, layout, mixed=mixed, exact=exact):
            module.forward = forward
            changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward
        for parts in layout.parts.values():
            parts.rest()


def mixes(model: Any) -> bool:
    """Whether the adapters are plain LoRA of linear layers, whose rows may share a batch with others'."""
    try:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper
    except ImportError:
        return True
    if isinstance(model.get_output_embeddings(), BaseTunerLayer):  # it sees the last rows of prompts alone
        return False
    return not any(
        isinstance(module, AuxiliaryTrainingWrapper)
        or (isinstance(module, BaseTunerLayer) and not _is_plain_lora(module))
        for module in model.modules()
    )


def _is_plain_lora(layer: Any) -> bool:
    from peft.tuners.lora import LoraLayer

    return (
        isinstance(layer, LoraLayer)
        and type(layer).__name__ in {"Linear", "Linear4bit"}
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and not layer.merged
    )


def _forwards(model: Any, layout: Layout, *, mixed: bool, exact: bool) -> Iterator[tuple[Any, Callable[..., Tensor]]]:
    import torch
    from transformers.pytorch_utils import Conv1D

    output, head = model.get_output_embeddings(), Layout(STEP, products=layout.products)
    for module in model.modules():
        if mixed and hasattr(module, "lora_A") and _is_plain_lora(module):
            parts: LowRank = layout.parts.setdefault(module, LowRank(module))
            yield module, functools.partial(_with_adapters, module, parts, layout)
        elif not exact:
            continue
        elif module is output and type(module) is torch.nn.Linear:
            yield module, functools.partial(_tiled, module.weight, module.bias, head)
        elif type(module) is torch.nn.Linear:
            yield module, functools.partial(_tiled, module.weight, module.bias, layout)
        elif isinstance(module, Conv1D):
            yield module, functools.partial(_tiled, module.weight.t(), module.bias, layout)


def _tiled(weight: Tensor, bias: Tensor | None, layout: Layout, x: Tensor) -> Tensor:
    """A linear layer over tiles; rows that are missing in the last are filled up with zeros."""
    from torch.nn.functional import pad

    rows = x.reshape(-1, x.shape[-1])
    count, tile = rows.shape[0], layout.tile
    if missing := -count % tile:
        rows = pad(rows, (0, 0, 0, missing))
    made = layout.product(rows, weight)[:count].view(*x.shape[:-1], -1)
    return made if bias is None else made + bias


def _with_adapters(layer: Any, parts: LowRank, layout: Layout, x: Tensor) -> Tensor:
    """The base's product over all rows, and each adapter's low-rank part on its own."""
    result: Tensor = layer.base_layer(x)
    parts.add(result.view(-1, result.shape[-1]), x.reshape(-1, x.shape[-1]), layout)
    return result
