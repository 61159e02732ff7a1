"""What keys and values take: the one sum of it, for answering here and for a server's slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pytest_llmbench.models.memory.architecture import Architecture

KvType = Literal["f16", "bf16", "fp8", "q8_0", "q4_0"]
"""How a key or value is stored. llama.cpp has all but fp8, vLLM and SGLang f16, bf16 and fp8."""

KV_BYTES: Mapping[KvType, float] = {"f16": 2, "bf16": 2, "fp8": 1, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of one number; the quantized types keep 32 of them with a scale of 2 bytes (ggml-common.h of llama.cpp)."""


def kv_cache_bytes(architecture: Architecture, tokens: int, key_bytes: float, value_bytes: float) -> int:
    """Bytes that the keys and values of so many tokens take, in all layers; a number takes the given bytes."""
    return int(architecture.layers * architecture.keys * tokens * (key_bytes + value_bytes))
