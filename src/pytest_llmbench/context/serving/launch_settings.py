"""How a server is launched: model, context, slots and memory, the same for vLLM, llama.cpp and SGLang."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pytest_llmbench.core.setting_sections import Engine, KvType, refuse_keys

SLOT_STEP = 256
"""llama.cpp rounds the context of a slot up to this many tokens."""

_KV_TYPES: dict[Engine, frozenset[KvType]] = {
    "vllm": frozenset(("f16", "bf16", "fp8")),
    "llamacpp": frozenset(("f16", "bf16", "q8_0", "q4_0")),
    "sglang": frozenset(("bf16", "fp8")),
}
_Count = Annotated[int, Field(ge=1)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")
"""What requests may call a model or a fine-tune by."""
_Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoraModule(_Settings):
    """A fine-tune that is served beside the base: the name that requests call it by, and its folder or GGUF file."""

    name: _Name
    path: Annotated[str, Field(min_length=1)]


class YarnScaling(_Settings):
    """YaRN (https://arxiv.org/abs/2309.00071): positions stretched by `factor` over those the model was trained on.

    `rope_theta` is the base of the model's rotary positions, from its config.json.
    """

    factor: Annotated[float, Field(gt=1)]
    original_context: _Count
    rope_theta: Annotated[float, Field(gt=0)]

    @property
    def context(self) -> int:
        """Tokens that the stretched positions reach."""
        return int(self.factor * self.original_context)


class LaunchSettings(_Settings):
    """What a server is launched with. None leaves a value to the server's own default.

    Lengths are in tokens. `max_context` is what one request may hold, prompt and answer; `slots` the requests that are
    answered at once, 1 of llama.cpp where nothing else is said: they divide its context. `batch_tokens` is what one
    step computes at most, `micro_batch` its part that is computed together (llama.cpp only). `pool_tokens` is what all
    slots share where `unified_kv` is on (llama.cpp only); None is slots times context. `gpu_memory_share` is the part
    of each GPU that vLLM and SGLang take, `kv_cache_bytes` what vLLM sets aside for keys and values where no share says
    so. `arguments` are passed on as they are.
    """

    engine: Engine
    model: Annotated[str, Field(min_length=1)]
    served_name: _Name | None = None
    max_context: _Count
    slots: _Count | None = None
    batch_tokens: _Count | None = None
    micro_batch: _Count | None = None
    kv_type_k: KvType | None = None
    kv_type_v: KvType | None = None
    unified_kv: bool = False
    pool_tokens: _Count | None = None
    threads: _Count | None = None
    device: Literal["cpu", "cuda"] = "cuda"
    kv_cache_bytes: _Count | None = None
    gpu_memory_share: Annotated[float, Field(gt=0, le=1)] | None = None
    tensor_parallel: _Count = 1
    yarn: YarnScaling | None = None
    lora: tuple[LoraModule, ...] = ()
    max_lora_rank: _Count | None = None
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    arguments: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_slot_of_llamacpp(cls, given: Any) -> Any:
        return {"slots": 1, **given} if isinstance(given, dict) and given.get("engine") == "llamacpp" else given

    @field_validator("arguments")
    @classmethod
    def _refuse_keys(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return refuse_keys(arguments)

    @model_validator(mode="after")
    def _refuse_what_the_engine_lacks(self) -> Self:
        own = {"micro_batch": self.micro_batch, "pool_tokens": self.pool_tokens, "unified_kv": self.unified_kv or None}
        if self.engine != "llamacpp" and (given := [name for name, value in own.items() if value is not None]):
            raise ValueError(f"{given[0]} is llama.cpp's alone; {self.engine} has no such setting")
        if self.engine == "llamacpp" and self.slots is None:
            raise ValueError("slots: llama.cpp's context is divided by them; give a number")
        if self.engine != "vllm" and self.kv_cache_bytes is not None:
            raise ValueError(f"kv_cache_bytes is vLLM's alone; {self.engine} has no such setting")
        if self.engine == "llamacpp" and self.gpu_memory_share is not None:
            raise ValueError("gpu_memory_share: llama.cpp takes what its context needs, not a share of the GPU")
        for kind in filter(None, (self.kv_type_k, self.kv_type_v)):
            if kind not in _KV_TYPES[self.engine]:
                known = ", ".join(sorted(_KV_TYPES[self.engine]))
                raise ValueError(f"{self.engine} stores no keys and values as {kind}; it knows {known}")
        if self.engine != "llamacpp" and self.kv_type_k != self.kv_type_v:
            raise ValueError(f"{self.engine} stores keys and values alike; give kv_type_k and kv_type_v the same")
        return self

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.pool_tokens is not None and not self.unified_kv:
            raise ValueError("pool_tokens: slots share a pool only with unified_kv")
        if self.pool_tokens is not None and self.pool_tokens < self.max_context:
            raise ValueError(f"pool_tokens: {self.pool_tokens} hold no request of max_context {self.max_context}")
        if self.micro_batch and self.batch_tokens and self.micro_batch > self.batch_tokens:
            raise ValueError(f"micro_batch: {self.micro_batch} is more than batch_tokens {self.batch_tokens}")
        if len({module.name for module in self.lora}) < len(self.lora):
            raise ValueError("lora: give each fine-tune a name of its own")
        return self

    @property
    def slot_tokens(self) -> int:
        """Tokens that a slot really holds: llama.cpp rounds them up to a multiple of 256."""
        if self.engine != "llamacpp":
            return self.max_context
        return -(-self.max_context // SLOT_STEP) * SLOT_STEP

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values have to be there for what is promised."""
        if self.pool_tokens is None:
            return (self.slots or 1) * self.slot_tokens
        return -(-self.pool_tokens // SLOT_STEP) * SLOT_STEP
