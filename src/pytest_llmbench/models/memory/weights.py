"""How much memory a model's weights take: estimated from its configuration alone, and measured once it is loaded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

GIB = 1024**3

_BLOCK = 64
_BLOCKS_OF_BLOCKS = 256
_CODE = 16 * 4  # the sixteen NF4 values, float32
_NESTED_CODE = 256 * 4 + 4  # the values of the second quantization, and its offset


@dataclasses.dataclass(frozen=True, slots=True)
class GpuMemory:
    """Memory of one CUDA device as PyTorch sees it, in bytes; `capability` is its compute capability."""

    index: int
    name: str
    allocated: int
    reserved: int
    total: int
    capability: tuple[int, int] = (8, 0)


def estimate_weights(
    config: Any,
    quantization: str,
    *,
    double_quant: bool = True,
    dtype: str = "bfloat16",
    trust_remote_code: bool = False,
) -> Mapping[str, int]:
    """Bytes of weights by class (linear, experts, embeddings, other), without allocating any.

    NF4 takes 4 bits a weight, and for each block of 64 a scale: 4 bytes, or with double quantization 1 byte plus 4
    bytes for each 256 blocks; 4.5 and 4.127 bits a weight (https://arxiv.org/abs/2305.14314, section 3). int8 takes
    8 bits and a 4-byte scale for each row; fused experts stay unquantized in int8. Embeddings, the output layer,
    norms and biases are never quantized and take `dtype`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from pytest_llmbench.models.quiet import quiet_libraries

    with quiet_libraries(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code
        )
    totals = {"linear": 0, "experts": 0, "embeddings": 0, "other": 0}
    for kind, parameter in _classified(model):
        totals[kind] += _bytes_of(parameter, kind, quantization, double_quant=double_quant)
    return totals


def is_fused_experts(module: nn.Module, parameter: Tensor) -> bool:
    """Whether a parameter holds the matrices of all experts of a layer, as transformers 5 keeps them."""
    experts_out_in = 3
    return "Experts" in type(module).__name__ and parameter.ndim == experts_out_in


def _classified(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each parameter once (tied ones too), with its class."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output: Any = model.get_output_embeddings()  # type: ignore[operator]
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if module is output or isinstance(module, torch.nn.Embedding):
                yield "embeddings", parameter
            elif is_fused_experts(module, parameter):
                yield "experts", parameter
            elif name == "weight" and (type(module) is torch.nn.Linear or isinstance(module, Conv1D)):
                yield "linear", parameter
            else:
                yield "other", parameter


def _bytes_of(parameter: Tensor, kind: str, quantization: str, *, double_quant: bool) -> int:
    count = parameter.numel()
    if quantization == "nf4" and kind in {"linear", "experts"}:
        return quantized_bytes(count, double_quant=double_quant)
    if quantization == "int8" and kind == "linear":
        return count + parameter.shape[0] * 4
    return count * parameter.element_size()


def quantized_bytes(count: int, *, double_quant: bool) -> int:
    """Bytes that `count` weights of one matrix take in NF4, scales and code included."""
    blocks = math.ceil(count / _BLOCK)
    scales = blocks + math.ceil(blocks / _BLOCKS_OF_BLOCKS) * 4 + _NESTED_CODE if double_quant else blocks * 4
    return math.ceil(count / 2) + scales + _CODE


def footprint(model: nn.Module) -> int:
    """Bytes that the model's parameters and buffers hold, the scales of quantized weights included.

    `get_memory_footprint` of transformers leaves the scales out. Storage that is shared counts once.
    """
    sizes: dict[tuple[str, int], int] = {}
    for tensor in _tensors(model):
        sizes[str(tensor.device), tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(sizes.values())


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            yield parameter
            yield from _state_tensors(getattr(parameter, "quant_state", None))
            yield from _state_tensors(parameter, "SCB")
        yield from module.buffers(recurse=False)
        yield from _state_tensors(getattr(module, "quant_state", None))
        yield from _state_tensors(getattr(module, "state", None), "SCB")


def _state_tensors(state: Any, *names: str) -> Iterator[Tensor]:
    """The tensors among an object's attributes, and among those of its second quantization."""
    import torch

    kept = getattr(state, "__dict__", {})
    for name in names or kept:
        value = kept.get(name)
        if isinstance(value, torch.Tensor):
            yield value
    if not names and kept.get("state2") is not None:
        yield from _state_tensors(kept["state2"])


def gpu_memory() -> list[GpuMemory]:
    """Every CUDA device and what of its memory PyTorch uses; empty on a CPU-only machine."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [
        GpuMemory(
            index,
            torch.cuda.get_device_name(index),
            torch.cuda.memory_allocated(index),
            torch.cuda.memory_reserved(index),
            torch.cuda.get_device_properties(index).total_memory,
            torch.cuda.get_device_capability(index),
        )
        for index in range(torch.cuda.device_count())
    ]


def gpu_memory_lines() -> list[str]:
    """One line a device, such as `GPU 0: 18.5GB / 20.1GB reserved / 24.0GB total` (1 GB is 2^30 bytes)."""
    return [
        f"GPU {gpu.index}: {gpu.allocated / GIB:.1f}GB / {gpu.reserved / GIB:.1f}GB reserved "
        f"/ {gpu.total / GIB:.1f}GB total"
        for gpu in gpu_memory()
    ]
