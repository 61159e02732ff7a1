"""System prompts for models that know no system role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def fold_system(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The messages with the system prompt put before the first user turn's text, a blank line between them."""
    system = [message["content"] for message in messages if message["role"] == "system"]
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if not system:
        return rest
    opening = "\n\n".join(system)
    if rest and rest[0]["role"] == "user":
        rest[0]["content"] = f"{opening}\n\n{rest[0]['content']}"
        return rest
    return [{"role": "user", "content": opening}, *rest]
