"""Whether a server is there and which one it is, and waiting for one that went away."""

from __future__ import annotations

import asyncio
from typing import Any

from pytest_llmbench.errors import ServerError
from pytest_llmbench.generation.chat_client import ChatClient
from pytest_llmbench.generation.served_models import listed_models
from pytest_llmbench.load.discovery import engine_name

_OK = 200
_PAUSE_S = 0.5
_TIMEOUT_S = 5.0


async def engine(control: ChatClient) -> str | None:
    """The engine's name, None when it does not show."""

    async def get(path: str) -> tuple[int, Any]:
        try:
            return await control.get(f"{control.url.rpartition('/')[0]}{path}", _TIMEOUT_S)
        except ServerError:
            return 0, None

    _, models = await get("/v1/models")
    return await engine_name(get, listed_models(models))


async def answers(control: ChatClient) -> bool:
    """Whether the server lists its models, which one that is still loading them refuses."""
    try:
        status, _ = await control.get(f"{control.url}/models", _TIMEOUT_S)
    except ServerError:
        return False
    return status == _OK


async def returned(control: ChatClient, longest_s: float) -> bool:
    """Wait until the server answers, for so long at most; whether it did."""
    try:
        async with asyncio.timeout(longest_s):
            while not await answers(control):  # noqa: ASYNC110  # a server signals nothing
                await asyncio.sleep(min(_PAUSE_S, longest_s / 10))
    except TimeoutError:
        return False
    return True
