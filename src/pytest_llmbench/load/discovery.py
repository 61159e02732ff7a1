"""Which servers answer on this machine's usual ports. Only loopback is asked, and no key is sent to anybody."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp

from pytest_llmbench.generation.served_models import listed_models

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
_OWNERS = {"vllm": "vLLM", "llamacpp": "llama.cpp", "sglang": "SGLang", "library": "Ollama"}
"""The `owned_by` of each model in `/v1/models`."""

_SIGNS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("/api/tags", "Ollama", lambda body: "models" in body),
    ("/api/v0/models", "LM Studio", lambda body: "data" in body),
    ("/get_model_info", "SGLang", lambda body: "model_path" in body),
    ("/props", "llama.cpp", lambda body: "default_generation_settings" in body),
    ("/info", "TGI", lambda body: "max_total_tokens" in body),
    ("/version", "vLLM", lambda body: set(body) == {"version"}),
)
"""Pages that only one engine has, the most telling first, for servers whose models do not name their maker."""


@dataclasses.dataclass(frozen=True, slots=True)
class FoundServer:
    """A server that speaks the OpenAI protocol. `engine` is None when it does not show; `locked` means it wants a key.

    A locked server does not tell its models.
    """

    url: str
    engine: str | None
    models: tuple[str, ...]
    locked: bool = False


Get = Callable[[str], Awaitable[tuple[int, Any]]]
"""Status and JSON body of a path of the server; (0, None) when it does not answer."""


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


async def engine_name(get: Get, listed: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which engine a server is, by the models it lists and its pages; `get` gives status and JSON of a path."""
    owners = (_OWNERS.get(str(entry.get("owned_by"))) for entry in listed.values())
    if told := next(filter(None, owners), None):
        return told
    answers = await asyncio.gather(*(get(path) for path, _, _ in _SIGNS))
    for (_, engine, fits), (status, body) in zip(_SIGNS, answers, strict=True):
        if status == _OK and isinstance(body, dict) and fits(body):
            return engine
    return None
