"""Names that options had before each had one name in all commands: still taken, and shown by no help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EARLIER: Mapping[str, Mapping[str, str]] = {
    "autotune": {"lang": "language", "model": "server-model", "out": "output"},
    "compare-training": {"lang": "language"},
    "dataset check": {"model": "base", "suites": "prompts"},
    "dataset generate": {"model": "server-model"},
    "evaluate": {"lang": "language"},
    "finetune": {"lr": "learning-rate", "suites": "prompts"},
    "query": {"max-tokens": "max-new-tokens"},
    "report": {"lang": "language"},
    "serve-demo": {"model": "base"},
}


def context_settings(command: str) -> dict[str, Any]:
    """What a command is registered with, so that it takes the earlier names of its options too."""
    earlier = _EARLIER.get(command)
    return {"token_normalize_func": lambda name: earlier.get(name, name)} if earlier else {}
