"""How many tokens a prompt has as the server counts them, template included: asked of it, or learnt from its `usage`.

Each way is held against the `usage` of two short prompts before it is believed. What is off by the same number in both
is taken with that number: engines whose tokenizer page leaves the chat template out.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pytest_llmbench.context.haystack import filler_sentences, pool, texts
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.server_address import engine_url

if TYPE_CHECKING:
    from pytest_llmbench.generation.client.chat_client import ChatClient
    from pytest_llmbench.runs.context_document import CountingMethod

_log = logging.getLogger("pytest_llmbench")
_TIMEOUT_S = 60.0
POOL = 24
"""Different sentences that prompts are made of where each is counted by a question of its own."""

Usage = Callable[[str], Awaitable[int | None]]
"""Prompt tokens of a user's message as the `usage` of an answer of one token tells them; None where it tells none."""


class Counting(Protocol):
    """A way to count."""

    method: CountingMethod

    async def count(self, text: str) -> int | None:
        """The tokens of a request with this user's message; None where this way does not work here."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Counter:
    """The way that was chosen. `exact` tells that it agreed with `usage`, `has_usage` that there is one."""

    counting: Counting
    offset: int
    exact: bool
    has_usage: bool
    template_tokens: int | None

    @property
    def method(self) -> CountingMethod:
        """Its name."""
        return self.counting.method

    @property
    def pool(self) -> int | None:
        """Of how many different sentences prompts may be made; None for any."""
        return POOL if self.method == "calibrated" else None

    async def count(self, text: str) -> int:
        """Prompt tokens of a request.

        Raises:
            ServerError: the server, which counted before, does not any longer.
        """
        found = await self.counting.count(text)
        if found is None:
            raise ServerError("the server no longer tells how many tokens a text has; see whether it is still there")
        return found + self.offset


class TemplatePages:
    """llama.cpp: `/apply-template` writes the prompt, `/tokenize` counts it."""

    method: CountingMethod = "apply_template"

    def __init__(self, client: ChatClient, standing: Mapping[str, Any]) -> None:
        self._client, self._template = client, standing.get("chat_template_kwargs")

    async def count(self, text: str) -> int | None:
        """See the protocol."""
        more = {"chat_template_kwargs": self._template} if self._template else {}
        written = await _said(self._client, "/apply-template", {"messages": _messages(text), **more})
        if not isinstance(written, dict) or not isinstance(written.get("prompt"), str):
            return None
        body = {"content": written["prompt"], "add_special": True, "parse_special": True}
        return _count_in(await _said(self._client, "/tokenize", body))


class TokenizePage:
    """vLLM and TGI: a page that takes messages; SGLang: one that takes the text alone."""

    method: CountingMethod = "tokenize"

    def __init__(self, client: ChatClient, standing: Mapping[str, Any], page: str, *, messages: bool) -> None:
        self._client, self._page, self._messages = client, page, messages
        self._standing = {key: standing[key] for key in ("model", "chat_template_kwargs") if standing.get(key)}

    async def count(self, text: str) -> int | None:
        """See the protocol."""
        said = {"messages": _messages(text), "add_generation_prompt": True} if self._messages else {"prompt": text}
        return _count_in(await _said(self._client, self._page, {**self._standing, **said}))


class LocalTokenizer:
    """A tokenizer on this machine, of the model that is served."""

    method: CountingMethod = "tokenizer"

    def __init__(self, tokenizer: Any, template_arguments: Mapping[str, Any]) -> None:
        self._tokenizer, self._arguments = tokenizer, template_arguments

    async def count(self, text: str) -> int | None:
        """See the protocol."""
        made = self._tokenizer.apply_chat_template(
            _messages(text), add_generation_prompt=True, tokenize=True, return_dict=False, **self._arguments
        )
        return len(made)


class Calibrated:
    """Learnt from `usage`: each line costs what it adds between two others, and each further short word one token.

    Lines keep their tokens wherever they stand, since they end with a full stop and a line break and begin with a
    letter. Sentences of the pool are asked for one by one; the facts and the question of a prompt, which stay together,
    all at once.
    """

    method: CountingMethod = "calibrated"

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._costs: dict[str, int] = {}
        self._bare: int | None = None
        self._around = next(filler_sentences("en", "calibration")), texts()["en"]["one"].format(place="cellar")

    async def count(self, text: str) -> int | None:
        """See the protocol."""
        first, last = self._around
        self._bare = self._bare or await self._usage(f"{first}\n{last}")
        if self._bare is None:
            return None
        lines = [_without_short_words(line) for line in text.split("\n")]
        heads = [head for head, _ in lines]
        for line in {first, last, *(head for head in heads if _recurs(head))} - self._costs.keys():
            self._costs[line] = await self._cost(line)
        if together := [head for head in heads if head not in self._costs]:
            cost = await self._cost("\n".join(together))
            self._costs.update({**dict.fromkeys(together, 0), together[0]: cost})
        total = sum(self._costs[head] + words for head, words in lines)
        return self._bare + total - self._costs[first] - self._costs[last]

    async def _cost(self, lines: str) -> int:
        first, last = self._around
        within = await self._usage(f"{first}\n{lines}\n{last}")
        if within is None:
            raise ServerError("the server no longer tells how many tokens a prompt has; see whether it is still there")
        return within - (self._bare or 0)


async def chosen_counter(ways: Sequence[Counting], usage: Usage) -> Counter | None:
    """The first way that agrees with `usage`, or, where there is none, that works at all; None where none does."""
    shorter, longer = (_example(language, lines) for language, lines in (("en", 3), ("fr", 6)))
    told = [await usage(shorter), await usage(longer)]
    for way in ways:
        counts = [await way.count(shorter), await way.count(longer)]
        if None in counts:
            continue
        if None in told:
            return Counter(way, 0, exact=False, has_usage=False, template_tokens=await _template_tokens(way, 0))
        off = [have - (count or 0) for have, count in zip(told, counts, strict=True) if have is not None]
        if off[0] == off[1] or way.method == "calibrated":
            exact = off[0] == off[1]
            return Counter(
                way, off[0], exact=exact, has_usage=True, template_tokens=await _template_tokens(way, off[0])
            )
        _log.warning("the %s count of tokens is not what the server counts (%+d and %+d): not used", way.method, *off)
    return None


async def _template_tokens(way: Counting, offset: int) -> int | None:
    """What a message of nothing but one short word costs besides it."""
    if way.method == "calibrated":
        return None
    found = await way.count("a")
    return None if found is None else max(0, found + offset - 1)


def _example(language: str, lines: int) -> str:
    made = filler_sentences(language, "example", different=POOL)
    return "\n".join([next(made) for _ in range(lines)])


def _without_short_words(line: str) -> tuple[str, int]:
    """A line of short words as its beginning with the first one, and how many more there are."""
    for said in texts().values():
        if line.startswith(said["filler"]):
            head, *more = line.removeprefix(said["filler"]).split()
            return f"{said['filler']} {head}", len(more)
    return line, 0


def _recurs(line: str) -> bool:
    """Whether a line is one of which long prompts are made, or begins short words."""
    return any(line in pool(language, POOL) or line.startswith(said["filler"]) for language, said in texts().items())


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def _said(client: ChatClient, page: str, body: Mapping[str, Any]) -> Any:
    return (await client.post(engine_url(client.url, page), body, _TIMEOUT_S)).data


def _count_in(body: Any) -> int | None:
    """The number of tokens that a tokenizer's page tells: vLLM and SGLang as `count`, others as the tokens."""
    if isinstance(body, dict):
        body = body.get("tokenize_response", body)
    if isinstance(body, dict):
        count, tokens = body.get("count"), body.get("tokens")
        if type(count) is int:
            return count
        body = tokens
    return len(body) if isinstance(body, list) else None
