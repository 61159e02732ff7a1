"""The command line that launches a server with given settings: one function an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from pytest_llmbench.context.serving.launch_settings import LaunchSettings, YarnScaling
from pytest_llmbench.core.setting_sections import Engine, KvType

_VLLM_KV: Mapping[KvType, str] = {"f16": "float16", "bf16": "bfloat16", "fp8": "fp8"}
_SGLANG_KV: Mapping[KvType, str] = {"bf16": "bfloat16", "fp8": "fp8_e4m3"}
_KV: Mapping[Engine, Mapping[KvType, str]] = {"vllm": _VLLM_KV, "sglang": _SGLANG_KV}
_ALL_LAYERS = "999"

UNSAID: Mapping[Engine, frozenset[str]] = {
    "vllm": frozenset(("threads",)),
    "llamacpp": frozenset(("tensor_parallel", "max_lora_rank")),
    "sglang": frozenset(("threads",)),
}
"""Settings that an engine's command line has no option for."""

_Flag = tuple[str, ...]


def argv(settings: LaunchSettings) -> list[str]:
    """The program and its arguments. A key has no place there: servers read it from the environment.

    vLLM reads `VLLM_API_KEY`, llama.cpp `LLAMA_API_KEY`; SGLang takes it as an argument only.
    """
    return [*(word for flag in _ENGINES[settings.engine](settings) for word in flag), *settings.arguments]


def kv_type_word(settings: LaunchSettings) -> str | None:
    """The type of the keys in the engine's own word; None where llama.cpp, which has no "auto", is told nothing."""
    if settings.kv_type_k is None:
        return None if settings.engine == "llamacpp" else "auto"
    return _KV.get(settings.engine, {}).get(settings.kv_type_k, settings.kv_type_k)


def _vllm(settings: LaunchSettings) -> Iterator[_Flag]:
    """`vllm serve`; https://docs.vllm.ai/en/latest/cli/serve.html."""
    yield "vllm", "serve", settings.model
    yield from _place(settings, name_flag="--served-model-name")
    yield "--max-model-len", str(settings.max_context)
    if settings.slots:
        yield "--max-num-seqs", str(settings.slots)
    if settings.batch_tokens:
        yield "--max-num-batched-tokens", str(settings.batch_tokens)
    if settings.kv_type_k:
        yield "--kv-cache-dtype", _VLLM_KV[settings.kv_type_k]
    if settings.kv_cache_bytes:
        yield "--kv-cache-memory-bytes", str(settings.kv_cache_bytes)
    if settings.gpu_memory_share:
        yield "--gpu-memory-utilization", f"{settings.gpu_memory_share:g}"
    if settings.tensor_parallel > 1:
        yield "--tensor-parallel-size", str(settings.tensor_parallel)
    if settings.yarn:
        yield "--hf-overrides", _stretched(settings.yarn, key="rope_parameters")
    if settings.lora:
        yield ("--enable-lora",)
        yield "--max-loras", str(len(settings.lora))
        if settings.max_lora_rank:
            yield "--max-lora-rank", str(settings.max_lora_rank)
        yield "--lora-modules", *(f"{module.name}={module.path}" for module in settings.lora)


def _llamacpp(settings: LaunchSettings) -> Iterator[_Flag]:
    """`llama-server`; https://github.com/ggml-org/llama.cpp/tree/master/tools/server."""
    local = PurePath(settings.model).suffix == ".gguf"
    yield "llama-server", "--model" if local else "--hf-repo", settings.model
    yield from _place(settings, name_flag="--alias")
    yield "--parallel", str(settings.slots or 1)
    yield "--ctx-size", str(settings.kv_tokens)
    if settings.unified_kv:
        yield "--kv-unified", "--kv-unified-per-slot", str(settings.slot_tokens)
    else:
        yield ("--no-kv-unified",)
    if settings.batch_tokens:
        yield "--batch-size", str(settings.batch_tokens)
    if settings.micro_batch:
        yield "--ubatch-size", str(settings.micro_batch)
    if settings.kv_type_k:
        yield "--cache-type-k", settings.kv_type_k
    if settings.kv_type_v:
        yield "--cache-type-v", settings.kv_type_v
    if settings.threads:
        yield "--threads", str(settings.threads)
    yield "--n-gpu-layers", _ALL_LAYERS if settings.device == "cuda" else "0"
    yield "--fit", "off"  # it would adjust what is not set here to the memory that is free
    if settings.yarn:
        yield "--rope-scaling", "yarn", "--rope-scale", f"{settings.yarn.factor:g}"
        yield "--yarn-orig-ctx", str(settings.yarn.original_context)
    for module in settings.lora:
        yield "--lora", module.path
    yield "--metrics", "--no-context-shift"


def _sglang(settings: LaunchSettings) -> Iterator[_Flag]:
    """`python -m sglang.launch_server`; https://docs.sglang.io/advanced_features/server_arguments.html."""
    yield "python", "-m", "sglang.launch_server", "--model-path", settings.model
    yield from _place(settings, name_flag="--served-model-name")
    yield "--context-length", str(settings.max_context)
    if settings.slots:
        yield "--max-running-requests", str(settings.slots)
    if settings.batch_tokens:
        yield "--chunked-prefill-size", str(settings.batch_tokens)
    if settings.kv_type_k:
        yield "--kv-cache-dtype", _SGLANG_KV[settings.kv_type_k]
    if settings.gpu_memory_share:
        yield "--mem-fraction-static", f"{settings.gpu_memory_share:g}"
    if settings.tensor_parallel > 1:
        yield "--tp-size", str(settings.tensor_parallel)
    if settings.device == "cpu":
        yield "--device", "cpu"
    if settings.yarn:
        yield "--json-model-override-args", _stretched(settings.yarn, key="rope_scaling")
    if settings.lora:
        yield "--enable-lora", "--max-loras-per-batch", str(len(settings.lora) + 1)  # the base takes a place too
        if settings.max_lora_rank:
            yield "--max-lora-rank", str(settings.max_lora_rank)
        yield "--lora-paths", *(f"{module.name}={module.path}" for module in settings.lora)
    yield ("--enable-metrics",)


_ENGINES = {"vllm": _vllm, "llamacpp": _llamacpp, "sglang": _sglang}


def _place(settings: LaunchSettings, *, name_flag: str) -> Iterator[_Flag]:
    if settings.served_name:
        yield name_flag, settings.served_name
    yield "--host", settings.host, "--port", str(settings.port)


def _stretched(yarn: YarnScaling, *, key: str) -> str:
    """What replaces fields of config.json.

    The positions are given too: vLLM 0.32 takes the longest context from them alone, and refuses a longer one whatever
    the factor. So is the base of the rotation: the new mapping takes the old one's place, whole.
    """
    rope = {
        "rope_type": "yarn",
        "rope_theta": yarn.rope_theta,
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_context,
    }
    return json.dumps({key: rope, "max_position_embeddings": yarn.context})
