"""Server settings by arithmetic: what fits into the memory that is there, and a reason for each value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pytest_llmbench.context.serving.family import architecture_of
from pytest_llmbench.context.serving.launch_settings import SLOT_STEP
from pytest_llmbench.core.documents import read_yaml
from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.core.setting_sections import Engine, KvType
from pytest_llmbench.core.settings import ServingSettings
from pytest_llmbench.models.memory.architecture import Architecture
from pytest_llmbench.models.memory.estimate import CUDA_CONTEXT, forward_bytes
from pytest_llmbench.models.memory.hardware import Hardware
from pytest_llmbench.models.memory.kv_cache import KV_BYTES, kv_cache_bytes
from pytest_llmbench.models.memory.weights import GIB
from pytest_llmbench.models.registry import ModelEntry
from pytest_llmbench.models.sources import locate

MOST_SLOTS: Mapping[Engine, int] = {"vllm": 256, "sglang": 256, "llamacpp": 16}
"""Where memory would hold more: vLLM's default on GPUs below 70 GiB, and what one batch of llama.cpp can carry."""

_PAGE: Mapping[Engine, int] = {"vllm": 16, "sglang": 16, "llamacpp": SLOT_STEP}
"""Tokens whose keys and values are set aside together."""
_HALF, _FLOAT = 2, 4
_GGUF_BITS = {"Q8_0": 8.5, "F16": 16.0, "BF16": 16.0}
"""Bits a weight of the kinds in which every matrix is stored alike; other kinds mix several, and only a file tells."""
_NARROW: Mapping[Engine, KvType] = {"vllm": "fp8", "sglang": "fp8", "llamacpp": "q8_0"}


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryRoom:
    """The memory of a server: `gpus` times that of the hardware, in bytes, of which a share stays free."""

    hardware: Hardware
    gpus: int
    margin: float

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.hardware.room * self.gpus

    @property
    def usable(self) -> int:
        """Without what stays free, in bytes."""
        return int(self.total * (1 - self.margin))

    def __str__(self) -> str:
        return f"{self.gpus} x {self.hardware.name}" if self.gpus > 1 else self.hardware.name


@dataclasses.dataclass(frozen=True, slots=True)
class ServerMemory:
    """Bytes by part that a server holds beside keys and values, and what each slot adds to that."""

    fixed: Mapping[str, int]
    slot_kv: int
    slot_logits: int

    @property
    def total_fixed(self) -> int:
        """What is there with no slot at all, in bytes."""
        return sum(self.fixed.values())

    def slots_in(self, usable: int) -> int:
        """Requests at the whole context that fit; 0 or less where not even one does."""
        return (usable - self.total_fixed) // (self.slot_kv + self.slot_logits)


def weights_of(entry: ModelEntry, engine: Engine) -> tuple[str, int]:
    """What the engine loads, and its bytes: the hub's 16 bits a weight, or for llama.cpp a GGUF file.

    Raises:
        UsageError: there is no GGUF of the model, or the registry's is of a kind whose size only the file tells.
    """
    parameters = architecture_of(entry).parameters
    if engine != "llamacpp":
        return entry.hub, parameters * _HALF
    if entry.gguf is None:
        location = locate(entry.alias)
        if location.kind == "gguf":
            return str(location.place), Path(location.place).stat().st_size
        raise UsageError(f"{entry.source}: model {entry.alias!r}: llama.cpp needs `gguf`, a file or org/name:Q8_0")
    if entry.gguf.endswith(".gguf"):
        if not Path(entry.gguf).is_file():
            raise UsageError(f"{entry.source}: model {entry.alias!r}: no such file: {entry.gguf}")
        return entry.gguf, Path(entry.gguf).stat().st_size
    bits = _GGUF_BITS.get(entry.gguf.rpartition(":")[2].upper())
    if bits is None:
        raise UsageError(
            f"{entry.source}: model {entry.alias!r}: the size of {entry.gguf} is only known of the file; give it, or "
            f"one of {', '.join(_GGUF_BITS)}"
        )
    return entry.gguf, int(parameters * bits / 8)


def memory_of(
    entry: ModelEntry, serving: ServingSettings, room: MemoryRoom, *, context: int, step_tokens: int
) -> ServerMemory:
    """What serving takes: weights, adapters, what a step computes, driver; and each slot's keys, values and logits.

    Weights are counted as stored, a step as `models estimate` counts one layer's forward pass. vLLM sets aside places
    for all adapters at the largest rank.
    """
    architecture, engine = architecture_of(entry), serving.engine
    fixed = {
        "weights": weights_of(entry, engine)[1],
        "adapters": _adapters(architecture, serving),
        "activations": _step_bytes(architecture, engine, step_tokens, context) * room.gpus,  # each takes the whole step
        "driver": CUDA_CONTEXT * room.gpus if room.hardware.device == "cuda" else 0,
    }
    return ServerMemory(
        {name: size for name, size in fixed.items() if size},
        slot_kv(architecture, serving.kv_type, in_pages(context, engine)),
        architecture.vocabulary * _FLOAT,
    )


def _step_bytes(architecture: Architecture, engine: Engine, tokens: int, context: int) -> int:
    """Bytes of one layer's forward pass; llama.cpp computes in float32, with a mask of each token over the context."""
    if engine == "llamacpp":
        return forward_bytes(architecture, tokens, _FLOAT) + tokens * in_pages(context, engine) * _HALF
    return forward_bytes(architecture, tokens, _HALF)


def slot_kv(architecture: Architecture, kind: KvType | None, tokens: int) -> int:
    """Bytes of the keys and values of so many tokens; of a 16-bit type where none is named."""
    number = KV_BYTES[kind or "f16"]
    return kv_cache_bytes(architecture, tokens, number, number)


def in_pages(tokens: int, engine: Engine) -> int:
    """Tokens as the engine sets them aside: whole pages."""
    page = _PAGE[engine]
    return -(-tokens // page) * page


def lora_rank(serving: ServingSettings) -> int:
    """The largest rank among the adapters: as it is set, else as their folders say.

    Raises:
        UsageError: an adapter is not in a folder here, so that its rank is not known; or its folder is not whole.
    """
    return serving.max_lora_rank or max(_rank_of(path) for path in serving.lora.values())


def _rank_of(path: str) -> int:
    config = Path(path) / "adapter_config.json"
    data = read_yaml(config).data if config.is_file() else None
    rank = data.get("r") if isinstance(data, dict) else None
    if not isinstance(rank, int):
        raise UsageError(
            f"{path}: its rank is not known, there is no {config.name} with one; give a folder that has it, or the "
            "rank as serving.max_lora_rank",
            names=("serving.lora",),
        )
    return rank


def _adapters(architecture: Architecture, serving: ServingSettings) -> int:
    """Bytes of all adapters: of GGUF files as they are, else over all linear layers at the largest rank, in 16 bits."""
    if serving.engine == "llamacpp":
        return sum(Path(path).stat().st_size for path in serving.lora.values())
    if not serving.lora:
        return 0
    matrices = architecture.targeted("all-linear")
    each = architecture.layers * lora_rank(serving) * sum(matrix.inputs + matrix.outputs for matrix in matrices)
    return len(serving.lora) * each * _HALF


def refuse_unfit_server(
    entry: ModelEntry, serving: ServingSettings, room: MemoryRoom, memory: ServerMemory, context: int
) -> None:
    """Let pass what fits.

    Raises:
        NotReadyError: the slots that are wanted do not; told are the parts, and what would fit instead.
    """
    wanted = serving.slots or 1
    if memory.slots_in(room.usable) >= wanted:
        return
    parts = {**memory.fixed, "keys and values": wanted * memory.slot_kv, "logits": wanted * memory.slot_logits}
    counted = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    requests = f"{wanted} request{'s' if wanted > 1 else ''} of {context} tokens"
    raise NotReadyError(
        f"{entry.member} with {requests} needs {sum(parts.values()) / GIB:.2f} GB ({counted}), and of {room} "
        f"{room.usable / GIB:.2f} GB may be used; {_ways_out(entry, serving, room, memory, context)}",
        names=("serving.max_context", "serving.slots", "serving.memory"),
    )


def _ways_out(entry: ModelEntry, serving: ServingSettings, room: MemoryRoom, memory: ServerMemory, context: int) -> str:
    """What would fit, nearest to the wish first."""
    architecture, wanted = architecture_of(entry), serving.slots or 1
    left = room.usable - memory.total_fixed - wanted * memory.slot_logits
    page = _PAGE[serving.engine]
    ways = []
    if (fewer := memory.slots_in(room.usable)) >= 1:
        ways.append(f"slots {fewer}")
    if (shorter := left // (wanted * slot_kv(architecture, serving.kv_type, page)) * page) >= page:
        ways.append(f"max_context {shorter}")
    narrow = _NARROW[serving.engine]
    narrowed = wanted * slot_kv(architecture, narrow, in_pages(context, serving.engine))
    if narrowed <= left and serving.kv_type != narrow:
        ways.append(f"kv_type {narrow}")
    return f"{' or '.join(ways)} would fit" if ways else "nothing smaller of it would fit; take a smaller model"
