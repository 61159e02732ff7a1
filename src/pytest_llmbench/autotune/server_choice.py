"""Which server is tested: the one that is named, else the one that answers on this machine's usual ports."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pytest_llmbench.core.errors import NotReadyError, UsageError

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.load.discovery import FoundServer

_log = logging.getLogger("pytest_llmbench")
_URL = "server.url"
_NAME_IT = f"name it with {_URL}"


async def with_server(settings: Settings) -> Settings:
    """The settings with a server named in them. One that was looked for is announced.

    Raises:
        NotReadyError: none is named, and none answers.
        UsageError: none is named, and several answer.
    """
    if settings.server.url or settings.load.targets:
        return settings
    from pytest_llmbench.load.discovery import find_servers

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
    from pytest_llmbench.load.discovery import USUAL

    return f"usual local ports ({', '.join(f'{port} {name}' for port, name in USUAL.items())})"


def _described(server: FoundServer) -> str:
    about = [server.engine or "unknown engine", *server.models]
    return f"{server.url} ({', '.join([*about, 'wants a key'] if server.locked else about)})"
