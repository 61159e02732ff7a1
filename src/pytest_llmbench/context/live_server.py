"""A live server that long prompts are sent to: how it counts, what it announces, and prompts in turn, with retries."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from pytest_llmbench.context.announced import Announced, announced_by
from pytest_llmbench.context.counting import Calibrated, Counter, Counting, TemplatePages, TokenizePage, chosen_counter
from pytest_llmbench.context.probes import Came, Memory, probe_of, resident_at
from pytest_llmbench.context.prompt_building import Draft, ExactPrompt, InexactError, exact_prompt
from pytest_llmbench.context.refusals import BUSY, code_of, why_refused
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.generation.client.chat_answer import Answer
from pytest_llmbench.generation.client.chat_client import ChatClient
from pytest_llmbench.generation.client.chat_exchange import Wire, noting_reuse
from pytest_llmbench.generation.client.chat_request import request_body, with_token_limit
from pytest_llmbench.generation.client.refusals import LONGEST_WAIT_S, backoff_s
from pytest_llmbench.generation.client.served_models import base_of
from pytest_llmbench.generation.client.server_address import chat_url
from pytest_llmbench.load.checked_server import CheckedServer
from pytest_llmbench.load.server_metrics import ServerWatch

if TYPE_CHECKING:
    from pytest_llmbench.context.questions import ContextQuestion
    from pytest_llmbench.generation.client.answer_judge import Ending
    from pytest_llmbench.generation.client.refusals import Refusal
    from pytest_llmbench.load.client import ChatServer
    from pytest_llmbench.runs.context_document import ProbeDocument

_RETURN_S = 60.0
_MOST_AT_ONCE = 2
_WHOLE_SERVER = (429, 503)  # says a server of itself; that its answer was too long in coming a proxy says of a prompt
_HERE = frozenset(("127.0.0.1", "::1", "localhost"))
_GIB = 2**30
_LEAST_CUT = 8  # tokens, and share of the prompt, below which a count that is learnt is not taken for a cut
_CUT_SHARE = 0.02
_NO_COUNT = (
    "the server neither counts tokens (/tokenize) nor sends `usage`, so no prompt can be made of a wanted length; name "
    "its model's tokenizer with context.tokenizer"
)


class LiveServer:
    """Asks long questions one at a time. An async context manager: entering it checks the server and how it counts.

    Args:
        server: where it is, and what each request carries; `timeout_s` is that of one answer.
        ways: further ways to count, tried after the server's own pages.
        retries: how often a request is sent again that the server was too busy for.
        scrape: whether `/metrics` and the memory are looked at around each prompt.

    Raises:
        ServerError: on entering, nobody answers, the key is refused, the model is not served, or nothing counts tokens.
    """

    def __init__(
        self, server: ChatServer, ways: Sequence[Counting] = (), *, retries: int = 3, scrape: bool = True
    ) -> None:
        self._given, self._ways, self._retries, self._scrape = server, ways, retries, scrape
        self._run = secrets.token_hex(4)
        self._started = time.monotonic()
        self._went_away = False
        self.most_off = 0

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as opened:
            await self._open(opened)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    @property
    def url(self) -> str:
        """The API's root."""
        return self.checked.server.url

    @property
    def model(self) -> str:
        """The model that is asked."""
        return str(self.checked.server.body["model"])

    async def prepare(self) -> Counter:
        """Find out how the server counts; the first questions are sent for it.

        Raises:
            ServerError: nothing counts, or the server refuses plain questions.
        """
        standing = self.checked.server.standing
        pages: list[Counting] = [
            TemplatePages(self._control, standing),
            TokenizePage(self._control, standing, "/tokenize", messages=True),
            TokenizePage(self._control, standing, "/chat_tokenize", messages=True),
            TokenizePage(self._control, standing, "/tokenize", messages=False),
        ]
        counter = await chosen_counter([*pages, *self._ways, Calibrated(self._usage)], self._usage)
        if counter is None:
            raise ServerError(f"{self.url}: {_NO_COUNT}")
        self.counter = counter
        return counter

    async def ask(self, question: ContextQuestion) -> ProbeDocument:
        """Send the question's prompt and tell what came. A server that went away the last time is waited for.

        Raises:
            TooShortError: not even the question alone fits in the length.
            ServerError: the server is gone, and not back in a minute; or it has no time, whatever is asked.
        """
        return await self._asked(question, await self._prompt(question))

    async def ask_together(self, questions: Sequence[ContextQuestion]) -> list[ProbeDocument]:
        """Send the questions' prompts at the same moment; else as `ask`."""
        prompts = [await self._prompt(question) for question in questions]
        asked = (self._asked(question, prompt) for question, prompt in zip(questions, prompts, strict=True))
        return list(await asyncio.gather(*asked))

    async def _prompt(self, question: ContextQuestion) -> ExactPrompt:
        await self._wait_for_return()
        draft = Draft(question.needle, f"{self._run} {question.said or question.id}", self.counter.pool)
        try:
            return await exact_prompt(draft, question.length, self.counter.count)
        except InexactError as error:
            return error.nearest

    async def _asked(self, question: ContextQuestion, prompt: ExactPrompt) -> ProbeDocument:
        begun, answer = time.monotonic(), Answer()
        async with self._watched() as watch:
            ending, sent = await self._send(prompt, question.answer_tokens, answer)
        cut = self._is_cut(prompt.tokens, answer.prompt_tokens or None)
        probe = probe_of(question, prompt, Came(answer, ending, sent, cut=cut), self._memory(watch))
        if answer.prompt_tokens and probe.refusal is None and not cut:
            self.most_off = max(self.most_off, abs(answer.prompt_tokens - prompt.tokens))
        self._went_away = probe.refusal is not None and probe.refusal.code == "server_gone"
        return probe.model_copy(update={"started_s": round(begun - self._started, 3)})

    async def announced(self) -> Announced:
        """What the server's pages say of its context. A fine-tune has its base's: vLLM and SGLang list it without."""
        models = self.checked.reached.models
        base = models.get(base_of(self.model, models), {})
        return await announced_by(self._control, {**base, **models.get(self.model, {})})

    async def _open(self, opened: contextlib.AsyncExitStack) -> None:
        given = self._given
        headers = {**given.headers, "Connection": "close"}
        self._control = ChatClient(given.url, headers, 1, given.timeout_s, 0, given.tls)
        opened.push_async_callback(self._control.close)
        self.checked = await CheckedServer.of(self._control, given)
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "identity", **given.headers},
            connector=aiohttp.TCPConnector(limit=_MOST_AT_ONCE, ssl=given.tls),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[noting_reuse()],
        )
        opened.push_async_callback(self._session.close)
        server = self.checked.server
        self._wire = Wire(self._session, chat_url(server.url), server.headers, server.timeout_s)

    async def _send(self, prompt: ExactPrompt, answer_tokens: int, answer: Answer) -> tuple[Ending, float]:
        """The ending and the moment of sending; asked again where the server was busy or the connection stale."""
        body = self._body(prompt.text, answer_tokens)
        attempt = 0
        while True:
            started = time.monotonic()
            ending = await self._wire.ask(body, answer)
            if ending.failure == "stale":
                continue
            refusal = ending.refusal
            if refusal is None or not _is_busy(refusal):
                return ending, started
            if refusal.wait_s > LONGEST_WAIT_S:
                raise self._no_time(f"{refusal.reason}; it asks to wait {refusal.wait_s:.0f} s")
            if attempt == self._retries:
                if refusal.status in _WHOLE_SERVER:
                    raise self._no_time(f"{refusal.reason}, also after {self._retries} retries")
                return ending, started
            await asyncio.sleep(max(refusal.wait_s, backoff_s(attempt)))
            attempt += 1

    def _no_time(self, why: str) -> ServerError:
        return ServerError(
            f"{self._wire.url}: {why}; what was tried is kept: try again when it has time, and resuming goes on",
            names=("resume",),
        )

    def _body(self, text: str, answer_tokens: int) -> dict[str, Any]:
        server = self.checked.server
        standing = with_token_limit(server.standing, answer_tokens, unless="max_completion_tokens")
        return request_body(standing, [{"role": "user", "content": text}], system_role=server.system_role)

    async def _usage(self, text: str) -> int | None:
        """Prompt tokens of a short message as an answer's `usage` has them.

        Raises:
            ServerError: the server refuses it.
        """
        answer = Answer()
        ending, _ = await self._send(ExactPrompt(text, 0), 1, answer)
        if why := why_refused(ending):
            told = ending.refusal or why.text or "no answer in time"
            names = ending.refusal.names if ending.refusal else ()
            raise ServerError(f"POST {self._wire.url}: a first question failed: {told}", names=names, status=why.status)
        return answer.prompt_tokens or None

    def _is_cut(self, sent: int, read: int | None) -> bool:
        learnt = not self.counter.exact or self.counter.method == "calibrated"
        allowed = max(_LEAST_CUT, _CUT_SHARE * sent) if learnt else 0
        return read is not None and read < sent - allowed

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[ServerWatch | None]:
        if not self._scrape:
            yield None
            return
        async with ServerWatch(self.checked.server) as watch:
            yield watch

    def _memory(self, watch: ServerWatch | None) -> Memory:
        """Of the GPUs of this machine, else of the process that listens at the server's port here."""
        watched = watch.summary() if watch else None
        kv_use = watched["server"]["kv_cache_max"] if watched and watched["server"] else None
        if watched and watched["gpu"]:
            return Memory(kv_use, round(watched["gpu"]["memory_gib"] * _GIB))
        where = urllib.parse.urlsplit(self.url)
        return Memory(kv_use, resident_at(where.port) if watched and where.hostname in _HERE and where.port else None)

    async def _wait_for_return(self) -> None:
        if self._went_away and not await self.checked.presence.returned(_RETURN_S):
            raise ServerError(
                f"{self.url}: gone, and not back after {_RETURN_S:g} s; what was tried is kept; start the server "
                "again, and resuming goes on",
                names=("resume",),
            )


def _is_busy(refusal: Refusal) -> bool:
    """Whether the server had no time for a prompt; one that has no room for it will have none later."""
    return refusal.status in BUSY and code_of(refusal.reason) == "http"
