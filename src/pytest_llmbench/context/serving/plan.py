"""What is computed for a server: its context, steps and slots, and the memory that they take."""

from __future__ import annotations

import dataclasses
import math

from pytest_llmbench.context.serving.arithmetic import (
    MOST_SLOTS,
    MemoryRoom,
    ServerMemory,
    in_pages,
    memory_of,
    refuse_unfit_server,
    slot_kv,
)
from pytest_llmbench.context.serving.family import architecture_of, stretched, window_of
from pytest_llmbench.context.serving.launch_settings import YarnScaling
from pytest_llmbench.context.serving.wishes import check_adapters, check_split, hardware_of
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import ServingSettings, Settings
from pytest_llmbench.models.registry import ModelEntry

_GPU_STEP, _CPU_STEP, _MICRO_STEP = 8192, 2048, 512


@dataclasses.dataclass(frozen=True, slots=True)
class Steps:
    """Tokens that one step computes at most, and of llama.cpp those that are computed together."""

    batch: int
    micro: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class ServerPlan:
    """What was found for a model: everything that its settings are written from."""

    entry: ModelEntry
    serving: ServingSettings
    room: MemoryRoom
    context: int
    stretch: tuple[YarnScaling | None, str]
    steps: Steps
    memory: ServerMemory
    slots: int

    @property
    def free_for_kv(self) -> int:
        """Bytes that may hold keys and values."""
        return self.room.usable - self.memory.total_fixed - self.slots * self.memory.slot_logits

    @property
    def kv_bytes(self) -> int:
        """Bytes that hold keys and values: what the slots need, or all that is left of a GPU that pages them."""
        pages_a_gpu = self.serving.engine != "llamacpp" and self.room.hardware.device == "cuda"
        return self.free_for_kv if pages_a_gpu else self.slots * self.memory.slot_kv

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


def plan_server(entry: ModelEntry, settings: Settings) -> ServerPlan:
    """What is computed for a member by the settings.

    Raises:
        UsageError: a wish beyond the model, or one that the engine does not know.
        NotReadyError: what is wished does not fit into the memory.
    """
    serving = settings.serving
    room = MemoryRoom(hardware_of(settings), serving.gpus, serving.memory_margin)
    check_split(entry, serving, room)
    check_adapters(entry, serving)
    context, answer = serving.max_context or window_of(entry).native, settings.generation.max_new_tokens
    if context <= answer:
        raise UsageError(
            f"a context of {context} tokens leaves no room for a prompt beside answers of {answer} tokens",
            names=("serving.max_context", "generation.max_new_tokens"),
        )
    stretch = stretched(entry, context)
    steps = _steps(serving, room, context)
    memory = memory_of(entry, serving, room, context=context, step_tokens=steps.micro or steps.batch)
    refuse_unfit_server(entry, serving, room, memory, context)
    most = min(MOST_SLOTS[serving.engine], serving.batch_tokens or math.inf)  # a step has a token of each
    slots = serving.slots or int(min(most, memory.slots_in(room.usable)))
    if serving.batch_tokens and serving.batch_tokens < slots:
        raise UsageError(
            f"a step of {serving.batch_tokens} tokens has no place for one of each of {slots} slots; set at least so "
            "many, or fewer slots",
            names=("serving.batch_tokens", "serving.slots"),
        )
    return ServerPlan(entry, serving, room, context, stretch, steps, memory, slots)


def _steps(serving: ServingSettings, room: MemoryRoom, context: int) -> Steps:
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
    return Steps(batch, micro, why)
