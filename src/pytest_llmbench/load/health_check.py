"""Whether a server is there, and waiting for one that went away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.chat_request import probe_body
from pytest_llmbench.generation.client.server_address import page_url

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.chat_client import ChatClient

_PAUSE_S = 0.5
_TIMEOUT_S = 5.0


class Presence:
    """Asks whether a server is there, in the way that it could be asked to begin with.

    A server that listed its models is there when it lists them again, which one that is still loading them refuses.
    One that never did is asked the question of one token that `body` makes.
    """

    def __init__(self, control: ChatClient, body: Mapping[str, Any], *, lists_models: bool) -> None:
        self._control = control
        self._probe = probe_body(body)
        self._lists_models = lists_models

    async def answers(self) -> bool:
        """Whether it is there now."""
        try:
            if self._lists_models:
                page = await self._control.get(page_url(self._control.url, "/models"), _TIMEOUT_S)
                return page.refused is None
            async with asyncio.timeout(_TIMEOUT_S):
                return (await self._control.ask(self._probe)).error is None
        except (ServerError, TimeoutError):
            return False

    async def returned(self, longest_s: float) -> bool:
        """Wait until the server answers, for so long at most; whether it did."""
        try:
            async with asyncio.timeout(longest_s):
                while not await self.answers():  # noqa: ASYNC110  # a server signals nothing
                    await asyncio.sleep(min(_PAUSE_S, longest_s / 10))
        except TimeoutError:
            return False
        return True
