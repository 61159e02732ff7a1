"""Whether a server gives a case's tools to its model: some drop them without a word, even where a call is required."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.locale import N_
from pytest_llmbench.generation.client.chat_request import probe_body
from pytest_llmbench.generation.client.server_address import engine_url

if TYPE_CHECKING:
    from pytest_llmbench.cases.tools import Tool
    from pytest_llmbench.generation.client.chat_client import ChatClient

_log = logging.getLogger("pytest_llmbench")
_TIMEOUT_S = 5.0
_TEMPLATE_KNOWS_NONE = N_(
    "the model's chat template knows no tools (/props); serve a model whose chat template knows tools, or start the "
    "server with such a template"
)
_DROPPED = N_(
    "prompts have as many tokens with tools as without, so they are dropped; serve a model whose chat template knows "
    "tools, or start the server with such a template"
)


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
        _log.warning("%s counts no tokens of prompts: that tools reach the model was not checked", client.url)
        return None
    if with_tools.prompt_tokens != without.prompt_tokens:
        return None
    return f"{client.url}: {_DROPPED}"


def _told_by(properties: object) -> bool | None:
    """What llama.cpp's `chat_template_caps` say of tools; None where there are none."""
    capabilities = properties.get("chat_template_caps") if isinstance(properties, Mapping) else None
    told = capabilities.get("supports_tools") if isinstance(capabilities, Mapping) else None
    return told if isinstance(told, bool) else None
