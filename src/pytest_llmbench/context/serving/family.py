"""The models that servers are configured for: members of the registry, and how long a context each reads."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_llmbench.context.serving.launch_settings import YarnScaling
from pytest_llmbench.core.documents import suggestion
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.settings import ServingSettings
from pytest_llmbench.models.memory.architecture import Architecture, read_architecture
from pytest_llmbench.models.registry import ContextWindow, ModelEntry, load_registry

SHORTEST = 1024
"""The first of the lengths that a context is tested at, in tokens."""


def members() -> Mapping[str, ModelEntry]:
    """The registry's models that have a `member` name, by it, in the registry's order."""
    return {entry.member: entry for entry in load_registry().values() if entry.member}


def find_member(model: str, *names: str) -> ModelEntry:
    """A member by its name, alias or hub id; `names` are the settings that it was named by.

    Raises:
        UsageError: it is not of the family, or the registry does not say how long a context it reads, or its shapes.
    """
    known = members()
    entry = known.get(model) or load_registry().find(model)
    if entry is None or entry.member is None:
        raise UsageError(
            f"{model!r} is no member of the family; {suggestion(model, known)}; a model of your own needs `member`, "
            "`context` and `architecture` in configs/models.yaml",
            names=names,
        )
    if lacking := [name for name in ("context", "architecture") if not getattr(entry, name)]:
        raise UsageError(f"{entry.source}: model {entry.alias!r}: a member needs `{lacking[0]}`")
    return entry


def check_endpoints(serving: ServingSettings) -> None:
    """Raises UsageError where a place is named for a model that is not of the family."""
    known = members()
    for name in serving.endpoints:
        if name not in known:
            raise UsageError(f"serving.endpoints: no model {name!r}; {suggestion(name, known)}")


def window_of(entry: ModelEntry) -> ContextWindow:
    """The context of a member. Raises UsageError where the registry does not say."""
    if entry.context is None:
        raise UsageError(f"{entry.source}: model {entry.alias!r}: a member needs `context`")
    return entry.context


def architecture_of(entry: ModelEntry) -> Architecture:
    """The shapes of a member. Raises ModelError where the registry's are not enough."""
    return read_architecture(entry.architecture, entry.source)


def positions_of(entry: ModelEntry) -> int:
    """Tokens that a server takes when nothing is stretched: `max_position_embeddings` of config.json."""
    native = window_of(entry).native
    return max(native, int(entry.architecture.get("max_position_embeddings") or native))


def longest_of(entry: ModelEntry) -> int:
    """The most tokens that a member can be served with."""
    return max(window_of(entry).longest, positions_of(entry))


def context_lengths(entry: ModelEntry) -> tuple[int, ...]:
    """Lengths at which a context is worth testing: doubled from 1024 up to what the publisher vouches for."""
    longest = window_of(entry).longest
    doublings = range(int(math.log2(max(1, longest / SHORTEST))) + 1)
    return tuple(sorted({min(longest, SHORTEST * 2**doubling) for doubling in doublings} | {longest}))


def stretched(entry: ModelEntry, max_context: int) -> tuple[YarnScaling | None, str]:
    """The scaling that a context needs, None within the model's own positions; and why.

    The factor is the smallest tenth that reaches it: YaRN in servers stretches short prompts as much as long ones, and
    the publisher advises no larger factor than is needed (https://huggingface.co/Qwen/Qwen3-4B).

    Raises:
        UsageError: it is beyond what the model reads.
    """
    window, positions, longest = window_of(entry), positions_of(entry), longest_of(entry)
    if max_context > longest:
        how = f" ({window.native} without YaRN)" if window.yarn else ""
        raise UsageError(
            f"{entry.member} reads at most {longest} tokens{how}, not {max_context}; ask for {longest} or less",
            names=("serving.max_context",),
        )
    if max_context <= window.native:
        return None, f"within the {window.native} tokens that it was trained on"
    if max_context <= positions:
        return None, (
            f"within the {positions} positions of config.json, which servers take unscaled, but beyond the "
            f"{window.native} tokens that it was trained on: `pytest -m context` tells whether it still answers right"
        )
    factor = math.ceil(10 * max_context / window.native) / 10
    yarn = YarnScaling(factor=factor, original_context=window.native, rope_theta=window.rope_theta or 0)
    return yarn, f"beyond its {positions} positions: YaRN stretches {window.native} by {factor:g}, short prompts too"
