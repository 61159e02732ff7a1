"""Which servers are tested, with what in each request, and what their users say: the settings in the engines' terms."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.generation.client.chat_request import standing_body
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, conversations_of, load_conversations

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import Settings


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


def chat_server(settings: Settings, target: Target) -> ChatServer:
    """The server, and what each request carries besides its messages: `generation`, then `server.base_body`.

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
        timeout_s=generation.timeout,
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
