"""What a program that serves takes for a model, and how long a context it reads: no longer one is tuned for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.models.registry import load_registry
from pytest_llmbench.models.sources import locate

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import Engine, Settings


def refuse_beyond_model(settings: Settings) -> None:
    """Look the model up, before anything starts; what nobody knows is left to the server to refuse.

    Raises:
        UsageError: the context is longer than the model reads.
    """
    wanted, base = settings.tune.context, settings.model.base
    longest = read_tokens(base, stretched="yarn" in settings.tune.fixed)
    if longest is not None and wanted > longest:
        raise UsageError(
            f"tune.context: {wanted} tokens are beyond {base}, which reads {longest}; give at most that",
            names=("tune.context",),
        )


def read_tokens(base: str, *, stretched: bool = False) -> int | None:
    """Tokens that a model reads, by the registry or its GGUF file, with YaRN where it is `stretched`."""
    entry = load_registry().find(base)
    if entry is None:
        return _trained(Path(base)) if base.endswith(".gguf") else None
    if entry.context and stretched:
        return entry.context.longest
    positions = entry.architecture.get("max_position_embeddings")
    known = [entry.context.native if entry.context else 0, positions if isinstance(positions, int) else 0]
    return max(known) or None


def loaded_by(base: str, engine: Engine) -> str:
    """What an engine's own program takes for a base: it knows no alias of the registry."""
    entry = load_registry().find(base)
    if entry is None:
        return base
    if engine != "llamacpp":
        return entry.hub
    location = locate(entry.alias)
    return entry.gguf or (str(location.place) if location.kind == "gguf" else entry.hub)


def _trained(gguf: Path) -> int | None:
    """What a GGUF file says; None where there is none, or the package gguf is missing."""
    if not gguf.is_file() or importlib.util.find_spec("gguf") is None:
        return None
    from gguf import GGUFReader

    try:
        fields = GGUFReader(gguf).fields
    except ValueError:  # no GGUF, which the server says too
        return None
    known = fields.get("general.architecture")
    found = fields.get(f"{known.contents()}.context_length") if known else None
    return int(found.contents()) if found else None
