"""Which engine a server is, and in which version: by what its models and its own pages say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.generation.client.server_address import engine_url

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.chat_client import ChatClient
    from pytest_llmbench.generation.client.server_pages import Reached

_OK = 200
_TIMEOUT_S = 5.0

_OWNERS = {"vllm": "vLLM", "llamacpp": "llama.cpp", "sglang": "SGLang", "library": "Ollama"}
"""The `owned_by` of each model in `/v1/models`."""

_SIGNS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("/api/tags", "Ollama", lambda body: "models" in body),
    ("/api/v0/models", "LM Studio", lambda body: "data" in body),
    ("/health/readiness", "LiteLLM", lambda body: "litellm_version" in body),
    ("/get_model_info", "SGLang", lambda body: "model_path" in body),
    ("/props", "llama.cpp", lambda body: "default_generation_settings" in body),
    ("/info", "TGI", lambda body: "max_total_tokens" in body),
    ("/version", "vLLM", lambda body: set(body) == {"version"}),
)
"""Pages that only one engine has, the most telling first, for servers whose models do not name their maker."""

_VERSIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "vLLM": (("/version", "version"),),
    "llama.cpp": (("/props", "build_info"),),
    "Ollama": (("/api/version", "version"),),
    "LiteLLM": (("/health/readiness", "litellm_version"),),
    "TGI": (("/info", "version"),),
    "SGLang": (("/server_info", "version"), ("/get_server_info", "version")),
}
"""Where each engine tells its version: a page, and the key of its JSON."""

_LISTING = frozenset(("vLLM", "llama.cpp", "SGLang", "Ollama", "LM Studio", "TGI"))
"""Engines whose `/v1/models` holds every name that they answer to, or none but those that they should answer to."""

Get = Callable[[str], Awaitable[tuple[int, Any]]]
"""Status and JSON body of a path of the server; (0, None) when it does not answer."""


class Engine(NamedTuple):
    """What serves. `software` is what the server says of itself in its `Server` header."""

    name: str | None
    version: str | None = None
    software: str | None = None

    @property
    def lists_all(self) -> bool:
        """Whether a model that it does not list is not served."""
        return self.name in _LISTING

    @property
    def text(self) -> str | None:
        """`vLLM 0.11.0`; what the header says where nothing else tells, None where that is missing too."""
        return " ".join(filter(None, (self.name, self.version))) if self.name else self.software


async def engine_behind(client: ChatClient, reached: Reached) -> Engine:
    """The engine of a server that was reached, with its version."""

    async def get(path: str) -> tuple[int, Any]:
        page = await client.get(engine_url(client.url, path), _TIMEOUT_S)
        return page.status, page.data

    name = await engine_name(get, reached.models)
    return Engine(name, await engine_version(get, name), reached.models_page.software)


async def engine_name(get: Get, listed: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which engine a server is, by the models it lists and its pages."""
    owners = (_OWNERS.get(str(entry.get("owned_by"))) for entry in listed.values())
    if told := next(filter(None, owners), None):
        return told
    answers = await asyncio.gather(*(get(path) for path, _, _ in _SIGNS))
    for (_, engine, fits), (status, body) in zip(_SIGNS, answers, strict=True):
        if status == _OK and isinstance(body, dict) and fits(body):
            return engine
    return None


async def engine_version(get: Get, name: str | None) -> str | None:
    """The version that an engine of this name tells."""
    for path, key in _VERSIONS.get(name or "", ()):
        _, body = await get(path)
        if isinstance(body, dict) and isinstance(body.get(key), str | int):
            return str(body[key])
    return None
