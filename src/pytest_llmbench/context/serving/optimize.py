"""From what is wished of a server to its settings, by arithmetic, each with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from pytest_llmbench.context.serving.arithmetic import weights_of
from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.context.serving.plan import ServerPlan, plan_server
from pytest_llmbench.context.serving.wishes import rank_places
from pytest_llmbench.core.allowed import fault_text
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import ServingSettings, Settings
from pytest_llmbench.models.memory.weights import GIB
from pytest_llmbench.models.registry import ModelEntry


def optimize(entry: ModelEntry, settings: Settings) -> OptimizedConfig:
    """The settings with which a member is served best, as far as arithmetic tells.

    Raises:
        UsageError: a wish beyond the model, or one that the engine does not know.
        NotReadyError: what is wished does not fit into the memory.
    """
    plan = plan_server(entry, settings)
    launch, serving = _launch(plan), plan.serving
    config = OptimizedConfig(
        model=str(entry.member),
        launch=launch,
        hardware=str(plan.room),
        gpus=plan.room.gpus if launch.device == "cuda" else 0,
        memory=plan.parts,
        prompt_tokens=plan.context - settings.generation.max_new_tokens,
        pool_tokens=plan.pool_tokens,
        reasons=dict(_reasons_of(plan, launch)),
        vllm_version=serving.vllm_version if serving.engine == "vllm" else None,
        image=serving.image,
    )
    config.check_flags()
    return config


def _launch(plan: ServerPlan) -> LaunchSettings:
    serving, on_gpu = plan.serving, plan.room.hardware.device == "cuda"
    pooled = serving.engine != "llamacpp"
    values: dict[str, Any] = {
        "engine": serving.engine,
        "model": weights_of(plan.entry, serving.engine)[0],
        "served_name": plan.entry.alias,
        "max_context": plan.context,
        "slots": plan.slots,
        "batch_tokens": max(plan.steps.batch, plan.slots),
        "micro_batch": plan.steps.micro,
        "kv_type_k": serving.kv_type,
        "kv_type_v": serving.kv_type,
        "threads": _threads(serving, on_gpu=on_gpu),
        "device": plan.room.hardware.device,
        "kv_cache_bytes": plan.kv_bytes if serving.engine == "vllm" and not on_gpu else None,
        "gpu_memory_share": _share(plan) if pooled and on_gpu else None,
        "tensor_parallel": serving.gpus,
        "yarn": plan.stretch[0],
        "lora": tuple({"name": name, "path": path} for name, path in serving.lora.items()),
        "max_lora_rank": rank_places(serving) if serving.lora and pooled else None,
        "port": serving.port,
        "arguments": serving.arguments,
    }
    try:
        return LaunchSettings.model_validate(values)
    except ValidationError as error:  # what the engine does not know
        told = "; ".join(fault_text(LaunchSettings, fault) for fault in error.errors(include_url=False))
        raise UsageError(told, names=("serving.engine",)) from error


def _threads(serving: ServingSettings, *, on_gpu: bool) -> int | None:
    """The processor's own cores: two threads on one core only wait for each other."""
    if serving.threads and serving.engine != "llamacpp":
        told = f"threads is llama.cpp's alone; {serving.engine} has no such setting"
        raise UsageError(told, names=("serving.threads", "serving.engine"))
    if serving.engine != "llamacpp" or on_gpu:
        return serving.threads
    import psutil

    return serving.threads or psutil.cpu_count(logical=False) or os.cpu_count()


def _share(plan: ServerPlan) -> float:
    """The part of a GPU's memory that the engine may take; SGLang counts weights, keys and values alone."""
    share = 1 - plan.room.margin
    if plan.serving.engine == "sglang":
        share = (plan.memory.fixed["weights"] + plan.kv_bytes) / plan.room.total
    return int(share * 1000) / 1000


def _reasons_of(plan: ServerPlan, launch: LaunchSettings) -> Iterator[tuple[str, str]]:
    """Why each value is as it is, one line each."""
    serving, memory = plan.serving, plan.memory
    per_slot = f"{memory.slot_kv / GIB:.2f} GB"
    yield "max_context", plan.stretch[1]
    yield "slots", _why_slots(plan, per_slot)
    yield "batch_tokens", plan.steps.reason
    yield (
        "kv_type",
        f"keys and values of a whole context take {per_slot}"
        + ("" if serving.kv_type else ", in 16 bits as the engine stores them"),
    )
    if launch.micro_batch:
        yield "micro_batch", "what is computed together; llama.cpp's own, `llmbench tune` measures others"
    if launch.gpu_memory_share:
        yield (
            "gpu_memory_share",
            (
                f"{plan.parts['free'] / GIB:.1f} GB stay free; keys and values get {plan.kv_bytes / GIB:.1f} GB, "
                f"{plan.pool_tokens} tokens of all requests together"
            ),
        )
    if launch.kv_cache_bytes:
        yield "kv_cache_bytes", f"{plan.pool_tokens} tokens of all requests together; the rest of the memory stays free"
    if launch.threads:
        yield "threads", "as it was set" if serving.threads else "the processor's own cores"
    if launch.tensor_parallel > 1:
        yield "tensor_parallel", f"{serving.gpus} GPUs hold one model together"
    if launch.max_lora_rank:
        yield "max_lora_rank", f"a place for each of {len(launch.lora)} adapters takes memory, so no larger than needed"


def _why_slots(plan: ServerPlan, per_slot: str) -> str:
    fitting = plan.memory.slots_in(plan.room.usable)
    if plan.serving.slots:
        return f"as it was set; memory holds {fitting} at the whole context"
    if fitting > plan.slots == plan.serving.batch_tokens:
        return f"memory would hold {fitting} at the whole context; a step of {plan.slots} tokens has one of each"
    if fitting > plan.slots:
        return f"memory would hold {fitting} at the whole context; more than {plan.slots} only wait for each other"
    left = plan.room.usable - plan.memory.total_fixed
    return f"{left / GIB:.1f} GB are left for requests of {per_slot} at the whole context"
