"""A server as it can be asked: where its API is, its model's name, the scales of its LoRA adapters, its engine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pytest_llmbench.core.records import BASE
from pytest_llmbench.generation.client.served_models import VariantTarget, with_loras, with_models
from pytest_llmbench.generation.client.server_pages import Engine, Reached, engine_behind, reach
from pytest_llmbench.load.health_check import Presence

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.chat_client import ChatClient
    from pytest_llmbench.load.client import ChatServer

_OPEN_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedServer:
    """A server that was found to answer. `presence` tells later on whether it is still there."""

    server: ChatServer
    reached: Reached
    engine: Engine
    presence: Presence

    @classmethod
    async def of(cls, control: ChatClient, server: ChatServer) -> CheckedServer:
        """Look at the server's pages; `control` asks where the API is from now on.

        Raises:
            ServerError: nobody answers, the key is refused, or the model is not served.
        """
        body, model = server.body, server.body.get("model")
        reached = await reach(control, _OPEN_TIMEOUT_S, named=model is not None)
        engine = await engine_behind(control, reached)
        reached = dataclasses.replace(reached, models=engine.named(reached.models))
        named = with_models({BASE: VariantTarget(model, {})}, reached.models, reached.url, all_listed=engine.lists_all)[
            BASE
        ]
        switched = with_loras(body, reached.loras, reached.url, as_started=True) if reached.loras is not None else body
        known = dataclasses.replace(server, url=reached.url, body={**switched, "model": named.model})
        presence = Presence(control, known.standing, lists_models=reached.models_page.refused is None)
        return cls(known, reached, engine, presence)
