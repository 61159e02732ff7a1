"""Why each setting of a server is as it is, one line each."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.context.serving.plan import ServerPlan
from pytest_llmbench.models.memory.weights import GIB


def reasons_of(plan: ServerPlan, launch: LaunchSettings) -> Iterator[tuple[str, str]]:
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
    if fitting > plan.slots:
        return f"memory would hold {fitting} at the whole context; more than {plan.slots} only wait for each other"
    left = plan.room.usable - plan.memory.total_fixed
    return f"{left / GIB:.1f} GB are left for requests of {per_slot} at the whole context"
