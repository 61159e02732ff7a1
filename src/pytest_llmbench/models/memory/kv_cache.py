"""What keys and values take: the one sum of it, for answering here and for a server's slots."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.core.setting_sections import KvType
from pytest_llmbench.models.memory.architecture import Architecture

KV_BYTES: Mapping[KvType, float] = {"f16": 2, "bf16": 2, "fp8": 1, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of one number; the quantized types keep 32 of them with a scale of 2 bytes (ggml-common.h of llama.cpp)."""


def kv_cache_bytes(architecture: Architecture, tokens: int, key_bytes: float, value_bytes: float) -> int:
    """Bytes that the keys and values of so many tokens take, in all layers; a number takes the given bytes."""
    return int(architecture.layers * architecture.keys * tokens * (key_bytes + value_bytes))
