"""The pages beside a server's questions. All are optional: what refuses to be read is said, and worked round."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.page import Page
from pytest_llmbench.generation.client.served_models import Lora, listed_models, loaded_loras
from pytest_llmbench.generation.client.server_address import engine_url, page_url, versioned

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.chat_client import ChatClient

_log = logging.getLogger("pytest_llmbench")
_NOT_FOUND = 404


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
    why = f"{page.sent} gave no list of models ({page.refused.reason if page.refused else 'it holds none'})"
    if named:
        _log.warning("%s: that the model exists was not checked", why)
        return
    advice = f"{page.refused.advice}; " if page.refused and page.refused.advice else ""
    names = page.refused.names if page.refused else ()
    told = f"{why}; {advice}where it cannot be had, name the model with server.model"
    raise ServerError(told, names=(*names, "server.model"), status=page.status or None)
