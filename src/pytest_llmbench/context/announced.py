"""What a server's own pages say of its context: it is tried first, and held against what is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.generation.client.server_address import engine_url

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.chat_client import ChatClient

_TIMEOUT_S = 5.0
_PAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/props", ("default_generation_settings", "n_ctx")),
    ("/info", ("max_total_tokens",)),
    ("/get_server_info", ("context_length",)),
)
"""Where llama.cpp, TGI and SGLang tell how many tokens a request may have; vLLM does beside its models."""


@dataclasses.dataclass(frozen=True, slots=True)
class Announced:
    """Tokens of one request, prompt and answer; slots; and the context that the model was trained with."""

    context: int | None = None
    slots: int | None = None
    trained: int | None = None


async def announced_by(client: ChatClient, listed: Mapping[str, Any]) -> Announced:
    """What the pages say, as far as they do; `listed` is the model's entry in the list of models.

    Raises:
        ServerError: nobody answers there any longer.
    """
    found, slots = [_whole(listed.get("max_model_len"))], None
    for page, keys in _PAGES:
        told = (await client.get(engine_url(client.url, page), _TIMEOUT_S)).data
        found.append(_whole(_at(told, keys)))
        slots = slots or _whole(_at(told, ("total_slots",)))
    trained = _whole(_at(listed.get("meta"), ("n_ctx_train",)))
    return Announced(next(filter(None, found), None), slots, trained)


def _at(told: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        told = told.get(key) if isinstance(told, Mapping) else None
    return told


def _whole(told: object) -> int | None:
    return told if type(told) is int and told > 0 else None
