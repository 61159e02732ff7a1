"""Which servers are tested, with what in each request, and what their users say: the settings in the engines' terms.

Where none is named, it is the one that answers on this machine's usual ports: only loopback is asked, and no key is
sent to anybody.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from pytest_llmbench.core.errors import NotReadyError, UsageError
from pytest_llmbench.generation.client.chat_request import standing_body
from pytest_llmbench.generation.client.served_models import listed_models
from pytest_llmbench.generation.client.server_pages import engine_name
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, conversations_of, load_conversations

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings

_log = logging.getLogger("pytest_llmbench")
_URL = "server.url"
_NAME_IT = f"name it with {_URL}"

_USUAL: Mapping[int, str] = {
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
_PATIENCE = 3  # times the promise: what is cut off before that neither kept it nor shows how late it was


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """What is asked: a server's address, and the model of it; None for the only one it serves."""

    url: str
    model: str | None = None


def targets_of(settings: Settings) -> tuple[Target, ...]:
    """The servers and models of `load.targets`, else that of `server.url`.

    Raises:
        UsageError: no server is named, or two targets are the same.
    """
    found = tuple(Target(target.url, target.model) for target in settings.load.targets)
    if len(set(found)) < len(found):
        raise UsageError("load.targets names the same server and model twice; give each once")
    if found:
        return found
    if settings.server.url is None:
        raise UsageError("no server to test; name it with server.url", names=("server.url",))
    return (Target(settings.server.url, settings.server.model),)


def with_targets_of(settings: Settings, model: str) -> Settings:
    """The settings with those of `load.targets` that are of this model, where there are targets.

    Raises:
        UsageError: none of them is.
    """
    targets = settings.load.targets
    chosen = tuple(target for target in targets if target.model == model)
    if targets and not chosen:
        known = ", ".join(target.model or target.url for target in targets)
        raise UsageError(
            f"load.targets has no target of the model {model!r}, only {known}; name one of them, or the server too",
            names=("load.targets",),
        )
    return settings.model_copy(update={"load": settings.load.model_copy(update={"targets": chosen})})


def chat_server(settings: Settings, target: Target) -> ChatServer:
    """The server, and what each request carries besides its messages: `generation`, then `server.base_body`.

    An answer is waited for as long as `generation.timeout`, and never less than three times what is promised.

    Raises:
        UsageError: it is no URL, or a header cannot be sent.
    """
    generation, server = settings.generation, settings.server
    seed = {"seed": generation.seed} if generation.do_sample and generation.temperature > 0 else {}
    body = standing_body(settings, {"model": target.model, **seed, **(server.base_body or {})})
    return ChatServer.at(
        target.url,
        server.headers,
        body=body,
        stream=server.stream,
        timeout_s=max(generation.timeout, _PATIENCE * settings.load.latency),
        system_role=settings.model.system_role,
    )


def talks(settings: Settings) -> list[Conversation]:
    """What the users say: the JSONL of `load.conversations`, else the suites.

    Raises:
        UsageError: a file is missing or wrong.
    """
    from pytest_llmbench.cases.selection import chosen_cases
    from pytest_llmbench.cases.suites import load_vocabulary
    from pytest_llmbench.core.starter import present

    if settings.load.conversations is not None:
        return load_conversations(settings.load.conversations)
    vocabulary = load_vocabulary(present(Path(settings.benchmark.vocabulary)))
    return conversations_of(chosen_cases(settings, vocabulary))


def digest_of(said: Sequence[Conversation]) -> str:
    """Tells what the users say from anything else they might say, whatever file it is in."""
    whole = json.dumps([dataclasses.astuple(talk) for talk in said])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


async def with_server(settings: Settings) -> Settings:
    """The settings with a server named in them. One that was looked for is announced.

    Raises:
        NotReadyError: none is named, and none answers.
        UsageError: none is named, and several answer.
    """
    if settings.server.url or settings.load.targets:
        return settings

    found = await find_servers()
    if not found:
        raise NotReadyError(
            f"no server to test: none answers on the {_looked_at()}; start it, or {_NAME_IT}", names=(_URL,)
        )
    if len(found) > 1:
        raise UsageError(f"several servers answer: {'; '.join(map(_described, found))}; {_NAME_IT}", names=(_URL,))
    _log.warning("no server was named: testing %s", _described(found[0]))
    return settings.model_copy(update={"server": settings.server.model_copy(update={"url": found[0].url})})


def _looked_at() -> str:

    return f"usual local ports ({', '.join(f'{port} {name}' for port, name in _USUAL.items())})"


def _described(server: FoundServer) -> str:
    about = [server.engine or "unknown engine", *server.models]
    return f"{server.url} ({', '.join([*about, 'wants a key'] if server.locked else about)})"


@dataclasses.dataclass(frozen=True, slots=True)
class FoundServer:
    """A server that speaks the OpenAI protocol. `engine` is None when it does not show; `locked` means it wants a key.

    A locked server does not tell its models.
    """

    url: str
    engine: str | None
    models: tuple[str, ...]
    locked: bool = False


async def find_servers(ports: Sequence[int] = tuple(_USUAL), host: str = _HOST) -> list[FoundServer]:
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
