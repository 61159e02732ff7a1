"""Which servers answer on this machine's usual ports. Only loopback is asked, and no key is sent to anybody."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from pytest_llmbench.generation.client.engines import engine_name
from pytest_llmbench.generation.client.served_models import listed_models

USUAL: Mapping[int, str] = {
    8000: "vLLM",
    8001: "a second vLLM",
    8080: "llama.cpp",
    11434: "Ollama",
    30000: "SGLang",
    1234: "LM Studio",
}
"""The ports that these take when they are told nothing. Who answers there is told by what it says, not by its port."""

_HOST = "127.0.0.1"
_TIMEOUT_S = 1.0
_OK = 200
_LOCKED = (401, 403)


@dataclasses.dataclass(frozen=True, slots=True)
class FoundServer:
    """A server that speaks the OpenAI protocol. `engine` is None when it does not show; `locked` means it wants a key.

    A locked server does not tell its models.
    """

    url: str
    engine: str | None
    models: tuple[str, ...]
    locked: bool = False


async def find_servers(ports: Sequence[int] = tuple(USUAL), host: str = _HOST) -> list[FoundServer]:
    """The servers at the ports, in the order of the ports. All are asked at once; it takes about a second at most."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        found = await asyncio.gather(*(_server_at(f"http://{host}:{port}", session) for port in ports))
    return [server for server in found if server]


async def _server_at(url: str, session: aiohttp.ClientSession) -> FoundServer | None:
    async def get(path: str) -> tuple[int, Any]:
        try:
            async with session.get(f"{url}{path}", allow_redirects=False) as response:
                return response.status, json.loads(await response.text())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None

    status, body = await get("/v1/models")
    if status in _LOCKED:
        return FoundServer(url, await engine_name(get, {}), (), locked=True)
    lists = isinstance(body, dict) and isinstance(body.get("data"), list)
    if status != _OK or not lists:
        return None
    listed = listed_models(body)
    names = dict.fromkeys(str(entry["id"]) for entry in listed.values())
    return FoundServer(url, await engine_name(get, listed), tuple(names))
