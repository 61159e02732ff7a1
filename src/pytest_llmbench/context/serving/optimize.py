"""From what is wished of a server to its settings: context, slots and steps by arithmetic, each with its reason."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pytest_llmbench.context.serving.arithmetic import (
    MOST_SLOTS,
    Memory,
    Room,
    in_pages,
    lora_rank,
    memory_of,
    refuse_unfit,
    slot_kv,
    weights_of,
)
from pytest_llmbench.context.serving.family import architecture_of, context_of, stretched
from pytest_llmbench.context.serving.launch_settings import LaunchSettings, LoraModule, YarnScaling
from pytest_llmbench.context.serving.optimized_config import OptimizedConfig
from pytest_llmbench.context.serving.vllm_flags import allowed_values
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import ServingSettings, Settings
from pytest_llmbench.models.memory.hardware import Hardware, detect
from pytest_llmbench.models.memory.weights import GIB
from pytest_llmbench.models.registry import ModelEntry

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_GPU_STEP, _CPU_STEP, _MICRO_STEP = 8192, 2048, 512


@dataclasses.dataclass(frozen=True, slots=True)
class _Steps:
    """Tokens that one step computes at most, and of llama.cpp those that are computed together."""

    batch: int
    micro: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """What was found for a model: everything that its settings are written from."""

    entry: ModelEntry
    serving: ServingSettings
    room: Room
    context: int
    stretch: tuple[YarnScaling | None, str]
    steps: _Steps
    memory: Memory
    slots: int

    @property
    def free_for_kv(self) -> int:
        """Bytes that may hold keys and values."""
        return self.room.usable - self.memory.total_fixed - self.slots * self.memory.slot_logits

    @property
    def kv_bytes(self) -> int:
        """Bytes that hold keys and values: of llama.cpp what its slots need, of the others all that is left."""
        return self.slots * self.memory.slot_kv if self.serving.engine == "llamacpp" else self.free_for_kv

    @property
    def pool_tokens(self) -> int:
        """Tokens that all requests together may hold."""
        page = in_pages(1, self.serving.engine)
        return self.kv_bytes // slot_kv(architecture_of(self.entry), self.serving.kv_type, page) * page

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by part; the last is what stays free."""
        parts = {
            **self.memory.fixed,
            "logits": self.slots * self.memory.slot_logits,
            "keys and values": self.kv_bytes,
        }
        return {**parts, "free": self.room.total - sum(parts.values())}


def optimize(entry: ModelEntry, settings: Settings) -> OptimizedConfig:
    """The settings with which a member is served best, as far as arithmetic tells.

    Raises:
        UsageError: a wish beyond the model, or one that the engine does not know.
        NotReadyError: what is wished does not fit into the memory.
    """
    plan = _plan(entry, settings)
    launch, serving = _launch(plan), plan.serving
    config = OptimizedConfig(
        model=str(entry.member),
        launch=launch,
        hardware=str(plan.room),
        gpus=plan.room.gpus if launch.device == "cuda" else 0,
        memory=plan.parts,
        prompt_tokens=plan.context - settings.generation.max_new_tokens,
        pool_tokens=plan.pool_tokens,
        reasons=dict(_reasons(plan, launch)),
        vllm_version=serving.vllm_version if serving.engine == "vllm" else None,
        image=serving.image,
    )
    config.check_flags()
    return config


def _plan(entry: ModelEntry, settings: Settings) -> _Plan:
    serving = settings.serving
    room = Room(_hardware(settings), serving.gpus, serving.memory_margin)
    _check_split(entry, serving, room)
    _check_adapters(serving)
    context, answer = serving.max_context or context_of(entry).native, settings.generation.max_new_tokens
    if context <= answer:
        raise UsageError(
            f"a context of {context} tokens leaves no room for a prompt beside answers of {answer} tokens",
            names=("serving.max_context", "generation.max_new_tokens"),
        )
    stretch = stretched(entry, context)
    steps = _steps(serving, room, context)
    memory = memory_of(entry, serving, room, context=context, step_tokens=steps.micro or steps.batch)
    refuse_unfit(entry, serving, room, memory, context)
    slots = serving.slots or min(MOST_SLOTS[serving.engine], memory.slots_in(room.usable))
    return _Plan(entry, serving, room, context, stretch, steps, memory, slots)


def _hardware(settings: Settings) -> Hardware:
    """The memory that is told of, else this machine's."""
    device, told = settings.model.device, settings.serving.memory
    if told is None:
        return _detected(device)
    if device == "cpu":
        return Hardware("cpu", f"a CPU with {told:g} GB", int(told * GIB))
    return Hardware.with_vram(told)


def _detected(device: Literal["auto", "cpu", "cuda"]) -> Hardware:
    found = detect()
    if device in ("auto", found.device):
        return found
    if device == "cuda":
        raise UsageError(
            "this machine has no GPU to be seen; tell the memory of the one that will serve",
            names=("serving.memory", "model.device"),
        )
    import psutil

    return Hardware("cpu", "the CPU's free memory", psutil.virtual_memory().available)


def _check_split(entry: ModelEntry, serving: ServingSettings, room: Room) -> None:
    """Raises UsageError where a model cannot be shared by so many GPUs."""
    if serving.gpus == 1:
        return
    if room.hardware.device == "cpu":
        raise UsageError("several GPUs were asked for, and it runs on the CPU", names=("serving.gpus", "model.device"))
    heads = architecture_of(entry).key_heads
    if heads % serving.gpus and serving.engine != "llamacpp":
        fitting = ", ".join(str(count) for count in range(1, heads + 1) if heads % count == 0)
        told = f"the keys and values of {heads} heads are not shared by {serving.gpus} GPUs; choose from {fitting}"
        raise UsageError(told, names=("serving.gpus",))


def _check_adapters(serving: ServingSettings) -> None:
    """Raises UsageError for an adapter that the engine cannot load: llama.cpp takes GGUF files, others folders."""
    for name, path in serving.lora.items():
        if serving.engine == "llamacpp" and not (path.endswith(".gguf") and Path(path).is_file()):
            told = "llama.cpp serves GGUF files that are here; its convert_lora_to_gguf.py makes one"
        elif serving.engine != "llamacpp" and not Path(path).is_dir() and not _HUB_ID.fullmatch(path):
            told = "it is neither a folder nor an id of the hub"
        else:
            continue
        raise UsageError(f"the adapter {name}, {path}: {told}", names=("serving.lora",))


def _steps(serving: ServingSettings, room: Room, context: int) -> _Steps:
    """Tokens of a step: a long prompt is computed in so many at a time, and answers under way wait that long."""
    if serving.batch_tokens:
        batch, why = serving.batch_tokens, "as it was set"
    elif room.hardware.device == "cuda" and serving.engine != "llamacpp":
        batch, why = (
            min(_GPU_STEP, context),
            "keeps a GPU busy; with more, answers under way would wait longer for a long prompt",
        )
    else:
        batch, why = min(_CPU_STEP, context), "more would make answers under way wait longer for a long prompt"
    micro = min(_MICRO_STEP, batch) if serving.engine == "llamacpp" else None
    return _Steps(batch, micro, why)


def _launch(plan: _Plan) -> LaunchSettings:
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
        "lora": tuple(LoraModule(name=name, path=path) for name, path in serving.lora.items()),
        "max_lora_rank": _rank(serving) if serving.lora and pooled else None,
        "port": serving.port,
        "arguments": serving.arguments,
    }
    try:
        return LaunchSettings(**values)
    except ValueError as error:  # what the engine does not know, in pydantic's own frame
        raise UsageError(_plain(error), names=("serving.engine",)) from error


def _plain(error: ValueError) -> str:
    from pydantic import ValidationError

    faults = error.errors(include_url=False) if isinstance(error, ValidationError) else []
    return "; ".join(
        str(fault.get("ctx", {}).get("error") or f"{fault['loc'][-1]}: {fault['msg']}") for fault in faults
    )


def _threads(serving: ServingSettings, *, on_gpu: bool) -> int | None:
    """The processor's own cores: two threads on one core only wait for each other."""
    if serving.engine != "llamacpp" or on_gpu:
        return serving.threads
    import psutil

    return serving.threads or psutil.cpu_count(logical=False) or os.cpu_count()


def _share(plan: _Plan) -> float:
    """The part of a GPU's memory that the engine may take; SGLang counts weights, keys and values alone."""
    share = 1 - plan.room.margin
    if plan.serving.engine == "sglang":
        share = (plan.memory.fixed["weights"] + plan.kv_bytes) / plan.room.total
    return int(share * 1000) / 1000


def _rank(serving: ServingSettings) -> int:
    """The least rank for which the engine has places, from the largest of the adapters.

    Raises:
        UsageError: it has none so large.
    """
    rank = lora_rank(serving)
    places = allowed_values("--max-lora-rank", serving.vllm_version) if serving.engine == "vllm" else None
    known = sorted(map(int, places or ()))
    fitting = next((one for one in known if one >= rank), None)
    if known and fitting is None:
        told = f"vLLM {serving.vllm_version} serves ranks up to {known[-1]}, not {rank}"
        raise UsageError(told, names=("serving.max_lora_rank",))
    return fitting or rank


def _reasons(plan: _Plan, launch: LaunchSettings) -> Iterator[tuple[str, str]]:
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


def _why_slots(plan: _Plan, per_slot: str) -> str:
    fitting = plan.memory.slots_in(plan.room.usable)
    if plan.serving.slots:
        return f"as it was set; memory holds {fitting} at the whole context"
    if fitting > plan.slots:
        return f"memory would hold {fitting} at the whole context; more than {plan.slots} only wait for each other"
    left = plan.room.usable - plan.memory.total_fixed
    return f"{left / GIB:.1f} GB are left for requests of {per_slot} at the whole context"
