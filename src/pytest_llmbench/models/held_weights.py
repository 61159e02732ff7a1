"""4-bit weights held unpacked where memory allows: what bitsandbytes stores, expanded once and not at every step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import ModelError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.machine import available_memory, total_memory
from pytest_llmbench.models.memory.architecture import read_architecture
from pytest_llmbench.models.memory.estimate import estimate_answering
from pytest_llmbench.models.memory.weights import GIB, footprint

if TYPE_CHECKING:
    import torch

    from pytest_llmbench.core.settings import ModelSettings
    from pytest_llmbench.models.loaded import LoadedModel

_log = logging.getLogger("pytest_llmbench")

_SHARE = {"cpu": 0.25, "cuda": 0.75}
"""Of a device's whole memory; on a CPU several processes of one session may each hold a model. Whole and not free, so
that every process of a session, and the next run, decides alike."""

FEWER_ROWS, POSITIONS = 32, 512
"""The answers at once, and the tokens of each with its prompt, that must find room beside the weights."""
_MORE_ROWS = 64
"""The answers at once where these find room too: a step takes less than twice as long for twice as many."""
_ANSWERING = 0.25
"""The share of the weights that answers may take where the model's shapes are not known."""


def hold_weights(loaded: LoadedModel, settings: ModelSettings) -> None:
    """Unpack NF4 weights, fused experts included, as `model.hold` says; before adapters are attached.

    On a CPU without instructions for the compute dtype the weights, and what is computed, are float32: on AVX2
    a product in bfloat16 takes ten times as long as one in float32. The values are those that bitsandbytes computes
    with in each case, rounded to the compute dtype once.

    Raises:
        ModelError: `dequantized` was asked for and does not fit into the memory that is free.
    """
    if loaded.quantization != "nf4":
        return
    loaded.hold = "packed"
    if settings.hold == "packed":
        return
    import torch

    dtype = fast_dtype(settings.compute_dtype, loaded.device)
    size = getattr(torch, dtype).itemsize
    needed = held_bytes(loaded.model, size)
    if why := _why_packed(loaded, settings.hold, needed, size):
        _log.warning(N_("%s stays packed in 4 bits, which is slower: %s"), loaded.source.name, why)
        return
    _unpack(loaded.model, getattr(torch, dtype))
    loaded.hold, loaded.dtype = "dequantized", dtype
    loaded.estimate = {"dequantized weights": needed}
    loaded.footprint = footprint(loaded.model)
    _log.info("%s: 4-bit weights held dequantized in %s, %.2f GiB", loaded.source.name, dtype, needed / GIB)


def fast_dtype(asked: str, device: str) -> str:
    """What is computed in: the type asked for, but float32 on a CPU that has no instructions for that type."""
    import torch

    if not device.startswith("cpu"):
        return asked
    known = torch.cpu.get_capabilities()
    wanted = {"bfloat16": ("avx512_bf16", "amx_bf16", "bf16"), "float16": ("amx_fp16", "avx512_fp16", "fp16_arith")}
    return asked if any(known.get(name) for name in wanted.get(asked, ())) else "float32"


def held_bytes(model: Any, size: int) -> int:
    """Bytes of all weights once they are unpacked, `size` bytes each."""
    packed = {id(parameter): _shape(state).numel() for _, _, parameter, state in _packed(model)}
    count: int = sum(packed.get(id(parameter), parameter.numel()) for parameter in model.parameters())
    return size * count


def most_rows(loaded: LoadedModel) -> int:
    """The answers that a CPU works on at once: more where weights and answers keep to their share of all memory.

    Where the model's shapes are not known, it is the fewer.
    """
    import torch

    known = _answering(loaded, getattr(torch, loaded.dtype).itemsize, _MORE_ROWS)
    return _MORE_ROWS if known and loaded.footprint + known <= _SHARE["cpu"] * total_memory() else FEWER_ROWS


def _why_packed(loaded: LoadedModel, hold: str, needed: int, size: int) -> str | None:
    total, free = _memory(loaded.device)
    wanted = needed + _answering_bytes(loaded, needed, size)
    device = "cpu" if loaded.device.startswith("cpu") else "cuda"
    if wanted > free:
        told = f"dequantized it needs {wanted / GIB:.1f} GiB and {free / GIB:.1f} GiB is free"
        if hold == "dequantized":
            raise ModelError(
                f"model.hold: dequantized: {loaded.source.name} needs {wanted / GIB:.1f} GiB and {free / GIB:.1f} GiB "
                "is free; set model.hold: auto or packed, or free some memory",
                names=("model.hold",),
            )
        return told
    if hold == "auto" and wanted > _SHARE[device] * total:
        return (
            f"dequantized it needs {wanted / GIB:.1f} GiB, more than {_SHARE[device]:.0%} of the device's "
            f"{total / GIB:.1f}; model.hold: dequantized allows it"
        )
    return None


def _answering_bytes(loaded: LoadedModel, weights: int, size: int) -> int:
    known = _answering(loaded, size, FEWER_ROWS)
    if known is None:
        _log.warning(
            N_("%s: its shapes are unknown, so the memory that answers take is reckoned as %.0f %% of the weights"),
            loaded.source.name,
            100 * _ANSWERING,
        )
        return int(weights * _ANSWERING)
    return known


def _answering(loaded: LoadedModel, size: int, rows: int) -> int | None:
    """Bytes that so many answers take beside the weights; None where the model's shapes are not known."""
    try:
        architecture = read_architecture(loaded.model.config.get_text_config().to_dict(), loaded.source.name)
    except ModelError:
        return None
    return sum(estimate_answering(architecture, size, rows=rows, positions=POSITIONS).values())


def _memory(device: str) -> tuple[int, int]:
    """All memory of the device or devices, and what is free of it, in bytes."""
    import torch

    if device.startswith("cpu"):
        return total_memory(), available_memory()
    each = [torch.cuda.mem_get_info(index) for index in range(torch.cuda.device_count())]
    return sum(total for _, total in each), sum(free for free, _ in each)


def _packed(model: Any) -> Iterator[tuple[Any, str, Any, Any]]:
    """Each packed weight: its module, name, parameter and quantization state."""
    from bitsandbytes.nn import Linear4bit
    from bitsandbytes.nn.parametrize import Bnb4bitParametrization

    for module in list(model.modules()):
        if isinstance(module, Linear4bit):
            yield module, "weight", module.weight, module.weight.quant_state
        for name, steps in tuple(getattr(module, "parametrizations", {}).items()):
            if isinstance(steps[0], Bnb4bitParametrization):
                yield module, name, steps.original, steps[0].quant_state


def _shape(state: Any) -> torch.Size:
    shape: torch.Size = state.shape
    return shape


def _unpack(model: Any, dtype: torch.dtype) -> None:
    """Replace packed weights one at a time, then bring the rest of the model to the same type."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from torch.nn.utils.parametrize import remove_parametrizations

    parents = {id(child): (parent, name) for parent in model.modules() for name, child in parent.named_children()}
    for module, name, parameter, state in _packed(model):
        values = dequantize_4bit(parameter.data, state).to(dtype)
        held = torch.nn.Parameter(values, requires_grad=False)
        if name in getattr(module, "parametrizations", {}):
            remove_parametrizations(module, name, leave_parametrized=False)
            module._parameters[name] = held  # noqa: SLF001  # setattr would compare it with the packed one
        else:
            parent, place = parents[id(module)]
            setattr(parent, place, _linear(module, held))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _linear(packed: Any, weight: torch.nn.Parameter) -> torch.nn.Linear:
    """An ordinary linear layer in a packed one's place, with the hook that moves its inputs between devices."""
    import torch

    linear = torch.nn.Linear(packed.in_features, packed.out_features, bias=False, device="meta")
    linear.weight, linear.bias = weight, packed.bias
    linear.train(packed.training)
    if hook := getattr(packed, "_hf_hook", None):
        from accelerate.hooks import add_hook_to_module

        add_hook_to_module(linear, hook)
    return linear
