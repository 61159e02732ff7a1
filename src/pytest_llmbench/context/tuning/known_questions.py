"""Whether a server that was just started answers right, and whether a slot of it holds the context that is wanted.

What is right is told by the default settings: the questions that they answer. Settings that lose more than a quarter of
those, as a cache of too few bits does, are not what anybody wants to be fast. The base is asked, also where the users
ask its fine-tune, which may know nothing but its own task.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmbench.autotune.targets import Target, chat_server
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.chat_client import ChatClient, Reply
from pytest_llmbench.generation.client.chat_request import request_body, whole_body, with_token_limit
from pytest_llmbench.generation.client.served_models import base_of, with_loras
from pytest_llmbench.generation.client.server_address import engine_url
from pytest_llmbench.load.checked_server import CheckedServer

if TYPE_CHECKING:
    from pytest_llmbench.core.setting_sections import Settings

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("How many days are in a week?", r"\b(7|seven)\b"),
    ("What is 2 plus 2?", r"\b(4|four)\b"),
    ("What is the opposite of hot?", r"\bcold\b"),
    ("My name is Clara. What is my name?", r"\bClara\b"),
    ("Say the word banana.", r"\bbanana\b"),
    ("What color is the sky on a clear day?", r"\bblue\b"),
    ("What is the capital of France?", r"\bParis\b"),
    ("Which month comes after June?", r"\bJuly\b"),
)
"""What is asked, and what a right answer has in it."""

_ANSWER_TOKENS = 32
_MOST_LOST = 0.25
_TIMEOUT_S = 10.0
_PATIENCE = 4  # times what an answer may take: here it matters what is answered, not when
_ROOM = 128  # tokens of a prompt that proves a context, for the template and the answer


@dataclasses.dataclass(frozen=True, slots=True)
class RightAnswers:
    """Which of the questions were answered right, by their places; `context` tokens a slot, None where nothing tells.

    `why` says of a context that was tried and not held what the server said. `unthought` counts the answers that were
    thoughts alone when their tokens ended.
    """

    right: frozenset[int]
    context: int | None
    why: str = ""
    unthought: int = 0

    def __str__(self) -> str:
        told = f"{len(self.right)} of {len(QUESTIONS)} known questions answered right"
        if not self.unthought:
            return told
        return (
            f"{told}, and {self.unthought} answers were still thoughts when their tokens ended: give thinking more "
            "(generation.max_reasoning_tokens), or switch it off (model.template_arguments: {enable_thinking: false})"
        )

    def as_right_as(self, default: frozenset[int]) -> bool:
        """Whether it answers what the default settings answer, but for a quarter at most."""
        return len(default - self.right) <= _MOST_LOST * len(default)


def check_answers(url: str, settings: Settings, wanted: int) -> RightAnswers:
    """Ask the server. `wanted` tokens are tried with a prompt where it does not tell what a slot holds.

    Raises:
        ServerError: it is not there, does not serve the model, refuses the questions themselves, or leaves one without
            an answer.
    """
    return asyncio.run(_checked(url, settings, wanted))


async def _checked(url: str, settings: Settings, wanted: int) -> RightAnswers:
    server = chat_server(settings, Target(url, settings.server.model))
    client = ChatClient(server.url, server.headers, len(QUESTIONS), _PATIENCE * server.timeout_s, 0, server.tls)
    try:
        checked = await CheckedServer.of(client, server)
        reached, asked = checked.reached, checked.server.body["model"]
        base = base_of(asked, reached.models)
        standing = whole_body(server.standing) | {"temperature": 0.0, "model": base}
        if reached.loras is not None:
            standing = with_loras(standing, reached.loras, reached.url)
        asking = _Asking(client, standing, server.system_role)
        thinking = settings.generation.max_reasoning_tokens
        answers = await asyncio.gather(
            *(asking.answer(question, _ANSWER_TOKENS + thinking) for question, _ in QUESTIONS)
        )
        right = frozenset(
            place
            for place, ((_, wanted_text), answer) in enumerate(zip(QUESTIONS, answers, strict=True))
            if re.search(wanted_text, answer.text, re.IGNORECASE)
        )
        unthought = sum(bool(answer.reasoning and not answer.text) for answer in answers)
        context, why = await _told_context(client, reached.models.get(base, {})), ""
        if context is None:
            context, why = await asking.proved_context(wanted)
        return RightAnswers(right, context, why, unthought)
    finally:
        await client.close()


@dataclasses.dataclass(frozen=True, slots=True)
class _Asking:
    client: ChatClient
    standing: Mapping[str, Any]
    system_role: str

    async def answer(self, question: str, tokens: int) -> Reply:
        """The answer. Raises ServerError where there is none."""
        reply = await self.client.ask(self._body(question, tokens))
        if reply.error is not None or reply.finish == "timeout":
            raise ServerError(
                f"the known question {question!r} was not answered ({reply.error or 'no answer in time'})"
            )
        return reply

    async def proved_context(self, wanted: int) -> tuple[int | None, str]:
        """The context if a prompt that nearly fills it is read whole, 0 where it is not; None where nothing is told."""
        words = max(1, wanted - _ROOM)  # of one token each at least
        reply = await self.client.ask(self._body("tree " * words, 1))
        if reply.error is not None or reply.finish == "timeout":
            return 0, reply.error or f"no answer in time to {words} tokens"
        if reply.prompt_tokens is None:
            return None, ""
        cut = reply.prompt_tokens < words
        return (0, f"of {words} tokens it read {reply.prompt_tokens}") if cut else (wanted, "")

    def _body(self, text: str, tokens: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        return request_body(with_token_limit(self.standing, tokens), messages, system_role=self.system_role)


async def _told_context(client: ChatClient, entry: Mapping[str, Any]) -> int | None:
    """Tokens that a request may hold, as vLLM and SGLang list it with the model and llama.cpp on its own page."""
    listed = entry.get("max_model_len")
    if isinstance(listed, int):
        return listed
    page = (await client.get(engine_url(client.url, "/props"), _TIMEOUT_S)).data
    settings = page.get("default_generation_settings") if isinstance(page, dict) else None
    told = settings.get("n_ctx") if isinstance(settings, dict) else None
    return told if isinstance(told, int) else None
