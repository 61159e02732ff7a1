"""The pages beside a server's questions: where its API begins, its models, its engine, and whether it takes tools.

All are optional: what refuses to be read is said, and worked round.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.core.locale import N_
from pytest_llmbench.generation.client.chat_request import probe_body
from pytest_llmbench.generation.client.refusals import Page
from pytest_llmbench.generation.client.served_models import Lora, listed_models, loaded_loras
from pytest_llmbench.generation.client.server_address import engine_url, page_url, versioned

if TYPE_CHECKING:
    from pytest_llmbench.cases.tools import Tool
    from pytest_llmbench.generation.client.chat_client import ChatClient


_log = logging.getLogger("pytest_llmbench")
_NOT_FOUND = 404

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

_Get = Callable[[str], Awaitable[tuple[int, Any]]]
"""Status and JSON body of a path of the server; (0, None) when it does not answer."""

_TEMPLATE_KNOWS_NONE = N_(
    "the model's chat template knows no tools (/props); serve a model whose chat template knows tools, or start the "
    "server with such a template"
)
_DROPPED = N_(
    "prompts have as many tokens with tools as without, so they are dropped; serve a model whose chat template knows "
    "tools, or start the server with such a template"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """What a server shows of itself to begin with: where it is, its models by name, and the LoRA adapters it switches.

    `loras` is None where it switches none by request. `models_page` tells why no models are listed where none are.
    """

    url: str
    models: Mapping[str, Mapping[str, Any]]
    loras: Mapping[int, Lora] | None
    models_page: Page


async def reach(client: ChatClient, timeout_s: float, *, named: bool) -> Reached:
    """Find out where the API begins, and what is served there. The client asks there from now on.

    A path without a version is used as it is; one that has no list of models is tried with `/v1` after it too. A server
    that refuses its list is asked all the same where a model is `named`, and that is announced.

    Raises:
        ServerError: nobody answers; or no model is named, and none is listed.
    """
    page = await client.get(page_url(client.url, "/models"), timeout_s)
    if page.status == _NOT_FOUND and (longer := versioned(client.url)):
        beneath = await client.get(page_url(longer, "/models"), timeout_s)
        if beneath.data is not None:
            client.url, page = longer, beneath
    models = listed_models(page.data)
    if not models:
        _tell_unlisted(page, named=named)
    loras = loaded_loras((await client.get(engine_url(client.url, "/lora-adapters"), timeout_s)).data)
    return Reached(client.url, models, loras, page)


def _tell_unlisted(page: Page, *, named: bool) -> None:
    reason = page.refused.reason if page.refused else "it holds none"
    if named:
        _log.warning(N_("%s gave no list of models (%s): that the model exists was not checked"), page.sent, reason)
        return
    advice = f"{page.refused.advice}; " if page.refused and page.refused.advice else ""
    names = page.refused.names if page.refused else ()
    told = f"{page.sent} gave no list of models ({reason}); {advice}where it cannot be had"
    raise ServerError(
        f"{told}, name the model with server.model", names=(*names, "server.model"), status=page.status or None
    )


class Engine(NamedTuple):
    """What serves. `software` is what the server says of itself in its `Server` header."""

    name: str | None
    version: str | None = None
    software: str | None = None

    @property
    def lists_all(self) -> bool:
        """Whether a model that it does not list is not served."""
        return self.name in _LISTING

    def named(self, listed: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        """The listed models by the names that each is to be asked by.

        SGLang lists a LoRA adapter by its bare name, and answers that as the base: it takes "base:adapter".
        """
        if self.name != "SGLang":
            return listed
        return {f"{entry['parent']}:{name}" if entry.get("parent") else name: entry for name, entry in listed.items()}

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
    return Engine(name, await _engine_version(get, name), reached.models_page.software)


async def engine_name(get: _Get, listed: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which engine a server is, by the models it lists and its pages."""
    owners = (_OWNERS.get(str(entry.get("owned_by"))) for entry in listed.values())
    if told := next(filter(None, owners), None):
        return told
    answers = await asyncio.gather(*(get(path) for path, _, _ in _SIGNS))
    for (_, engine, fits), (status, body) in zip(_SIGNS, answers, strict=True):
        if status == _OK and isinstance(body, dict) and fits(body):
            return engine
    return None


async def _engine_version(get: _Get, name: str | None) -> str | None:
    """The version that an engine of this name tells."""
    for path, key in _VERSIONS.get(name or "", ()):
        _, body = await get(path)
        if isinstance(body, dict) and isinstance(body.get(key), str | int):
            return str(body[key])
    return None


async def why_tools_left_out(client: ChatClient, standing: Mapping[str, Any], tools: Sequence[Tool]) -> str | None:
    """Why the server leaves the tools out; None where it does not, or where that cannot be found out.

    llama.cpp tells on its page of properties whether the model's template knows tools. Else two questions of one token
    are asked, with the tools and without: prompts of as many tokens are the same prompt. What is refused with tools is
    left to the cases, whose errors then say why.
    """
    properties = (await client.get(engine_url(client.url, "/props"), _TIMEOUT_S)).data
    if (told := _told_by(properties)) is not None:
        return None if told else f"{client.url}: {_TEMPLATE_KNOWS_NONE}"
    given = [dict(tool) for tool in tools]
    without, with_tools = [await client.ask(probe_body(standing, **keys)) for keys in ({}, {"tools": given})]
    if with_tools.finish == "error":
        return None
    if without.prompt_tokens is None or with_tools.prompt_tokens is None:
        _log.warning(N_("%s counts no tokens of prompts: that tools reach the model was not checked"), client.url)
        return None
    if with_tools.prompt_tokens != without.prompt_tokens:
        return None
    return f"{client.url}: {_DROPPED}"


def _told_by(properties: object) -> bool | None:
    """What llama.cpp's `chat_template_caps` say of tools; None where there are none."""
    capabilities = properties.get("chat_template_caps") if isinstance(properties, Mapping) else None
    told = capabilities.get("supports_tools") if isinstance(capabilities, Mapping) else None
    return told if isinstance(told, bool) else None
