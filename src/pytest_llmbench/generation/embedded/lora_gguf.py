"""A PEFT adapter as the GGUF file that llama.cpp loads, written once.

The form is llama.cpp's own (`convert_lora_to_gguf.py` there, same tensors bit for bit): the two matrices of each
layer under the name of the base's tensor, with the rows of q and k in the order in which GGUF keeps them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import AdapterError, NotReadyError
from pytest_llmbench.core.files import replacing
from pytest_llmbench.core.starter import cache_dir
from pytest_llmbench.models.adapters import CONFIG, Adapter
from pytest_llmbench.models.hashing import file_hash

if TYPE_CHECKING:
    import numpy as np

CONVERTER_VERSION = 1
"""Part of the file's name: raise it when the conversion changes, and old conversions are made again."""

_REORDERED = frozenset({"llama"})
_AS_THEY_ARE = frozenset({"gemma", "gemma2", "gemma3", "qwen2", "qwen3", "smollm3"})
"""The architectures whose projections GGUF keeps one by one; q and k of the first kind have their rows interleaved."""

_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<matrix>[AB])\.weight")
_QUERY_AND_KEY = re.compile(r"\.attn_(?P<which>[qk])$")
_BY_HAND = "convert it with llama.cpp's convert_lora_to_gguf.py and give the .gguf file as the adapter"
_NOT_SERVED = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA biases",
    "modules_to_save": "whole modules beside the LoRA (modules_to_save)",
    "trainable_token_indices": "trained tokens",
    "fan_in_fan_out": "transposed weights (fan_in_fan_out)",
    "target_parameters": "LoRA on bare parameters",
    "alora_invocation_tokens": "activated LoRA",
}


@dataclasses.dataclass(frozen=True, slots=True)
class BaseShape:
    """What the conversion must know about the base: its GGUF's architecture and layers.

    Where rows of q and k are reordered it must know the attention heads, too.
    """

    architecture: str
    layers: int
    heads: int = 0
    kv_heads: int = 0


def lora_gguf(adapter: Adapter, base: Path) -> Path:
    """The GGUF file of an adapter for this base GGUF; converted now if it never was.

    Raises:
        AdapterError: llama.cpp cannot apply this kind of adapter, or it does not fit the base.
        NotReadyError: the local extra is missing, or the disk is full.
    """
    key = hashlib.sha256(f"{adapter.weights_hash} {adapter.config_hash} {file_hash(base)}".encode()).hexdigest()
    target = cache_dir() / "loras" / f"{adapter.name}-{key[:16]}-v{CONVERTER_VERSION}.gguf"
    if not target.is_file():
        config = json.loads((Path(adapter.path) / CONFIG).read_text(encoding="utf-8"))
        if adapter.kind != "LORA":
            raise AdapterError(f"{adapter.path}: llama.cpp applies LoRA adapters only, not {adapter.kind}")
        shape = read_shape(base)
        tensors = converted(_read_weights(adapter), config, shape, adapter.path)
        _write(target, tensors, shape.architecture, float(config["lora_alpha"]))
    return target


def converted(
    weights: Mapping[str, np.ndarray[Any, Any]], config: Mapping[str, Any], shape: BaseShape, where: str
) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors by their names in GGUF, from those of PEFT.

    llama.cpp scales by alpha / rank. Where PEFT scales otherwise (rsLoRA, an alpha of a layer's own), the difference
    is multiplied into the second matrix.

    Raises:
        AdapterError: the adapter holds what llama.cpp has no place for; `where` is named.
    """
    import gguf

    _check(config, shape, where)
    architecture = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == shape.architecture)
    names = gguf.get_tensor_name_map(architecture, shape.layers)
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for key, value in sorted(weights.items()):
        found = _TENSOR.fullmatch(key)
        if found is None:
            raise AdapterError(f"{where}: {key} is no LoRA matrix that llama.cpp knows; {_BY_HAND}")
        name = names.get_name(found["module"])
        if name is None:
            raise AdapterError(f"{where}: the base ({shape.architecture}) has no module {found['module']}")
        second = found["matrix"] == "B"
        matrix = _second(value, name, found["module"], config, shape) if second else value
        tensors[f"{name}.weight.lora_{found['matrix'].lower()}"] = matrix
    return tensors


def read_shape(base: Path) -> BaseShape:
    """What a GGUF model file says about itself.

    Raises:
        NotReadyError: the package gguf is missing.
        AdapterError: it is not a GGUF file.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise _needs_local_extra() from error
    try:
        fields = GGUFReader(base).fields
    except ValueError as error:
        raise AdapterError(f"{base} is not a GGUF file ({error}); an adapter can be served over GGUF only") from error
    architecture = str(fields["general.architecture"].contents())
    layers = int(fields[f"{architecture}.block_count"].contents())
    if architecture not in _REORDERED:  # others may have heads by layer, or none
        return BaseShape(architecture, layers)
    heads = int(fields[f"{architecture}.attention.head_count"].contents())
    grouped = fields.get(f"{architecture}.attention.head_count_kv")
    return BaseShape(architecture, layers, heads, int(grouped.contents()) if grouped else heads)


def _check(config: Mapping[str, Any], shape: BaseShape, where: str) -> None:
    if shape.architecture not in _REORDERED | _AS_THEY_ARE:
        raise AdapterError(f"{where}: adapters of the architecture {shape.architecture} are not converted; {_BY_HAND}")
    if config.get("bias", "none") != "none":
        raise AdapterError(f"{where}: llama.cpp cannot apply trained biases; train with bias: none to serve it")
    for key, what in _NOT_SERVED.items():
        if config.get(key):
            raise AdapterError(f"{where}: llama.cpp cannot apply {what}; train without to serve it")


def _second(
    value: np.ndarray[Any, Any], name: str, module: str, config: Mapping[str, Any], shape: BaseShape
) -> np.ndarray[Any, Any]:
    """The second matrix as GGUF has it: rows of q and k reordered, PEFT's own scale multiplied in."""
    factor = _scale_of_peft(module, value.shape[1], config) / (float(config["lora_alpha"]) / value.shape[1])
    if not math.isclose(factor, 1.0):
        value = (value.astype("float32") * factor).astype(value.dtype)
    rotated = _QUERY_AND_KEY.search(name)
    if rotated is None or shape.architecture not in _REORDERED:
        return value
    heads = shape.heads if rotated["which"] == "q" else shape.kv_heads
    halves = value.reshape(heads, 2, value.shape[0] // heads // 2, value.shape[1])
    return halves.swapaxes(1, 2).reshape(value.shape)


def _scale_of_peft(module: str, rank: int, config: Mapping[str, Any]) -> float:
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    own = (alpha for pattern, alpha in patterns.items() if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", module))
    alpha = float(next(own, config["lora_alpha"]))
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _read_weights(adapter: Adapter) -> dict[str, np.ndarray[Any, Any]]:
    try:
        import torch
        from safetensors.torch import load_file
    except ImportError as error:
        raise _needs_local_extra() from error
    file = Path(adapter.path) / adapter.weights_file
    tensors = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    kept = (torch.float16, torch.float32)  # numpy has no bfloat16, and float32 holds it whole
    return {key: (each if each.dtype in kept else each.float()).numpy() for key, each in tensors.items()}


def _write(target: Path, tensors: Mapping[str, np.ndarray[Any, Any]], architecture: str, alpha: float) -> None:
    import gguf

    with replacing(target) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _needs_local_extra() -> NotReadyError:
    extra = "pip install 'pytest-llmbench[local]'"
    return NotReadyError(f"converting an adapter needs the local extra: {extra}; or serve the base alone")
