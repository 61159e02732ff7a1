"""A backend that asks a live OpenAI-compatible server (vLLM, llama.cpp, or any that speaks `/v1/chat/completions`)."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import hashlib
import json
import logging
import os
import queue
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.errors import ServerError, naming
from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.generation.client.background_loop import BackgroundLoop
from pytest_llmbench.generation.client.chat_client import ChatClient, Reply
from pytest_llmbench.generation.client.chat_request import request_body, standing_body, tool_keys, unlike
from pytest_llmbench.generation.client.served_models import VariantTarget, targets, with_loras, with_models
from pytest_llmbench.generation.client.server_address import api_url, request_headers
from pytest_llmbench.generation.client.server_pages import Engine, engine_behind, reach, why_tools_left_out
from pytest_llmbench.generation.sampling import noise_key
from pytest_llmbench.models.call_forms import read_calls

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.cases.tools import Tool
    from pytest_llmbench.core.settings import Settings
    from pytest_llmbench.generation.client.served_models import Lora

_log = logging.getLogger("pytest_llmbench")
_OPEN_TIMEOUT_S = 10.0
_SEED_BITS = 0x7FFFFFFF  # what every server takes
_ROUNDS = 16
"""Answers a slot gives in one call of `complete`: the slots that idle at its end are then few among many."""


class ServerBackend:
    """Asks up to `settings.server.concurrency` questions at a time, on connections that are kept.

    The key comes from the environment (`LLMBENCH_API_KEY`) and goes nowhere but to the server. A llama.cpp server is
    told the scale of each of its LoRA adapters with every question: 0 where none is asked for, or with `as_started` the
    one that it was started with. Where cases have `tools`, these find out whether the server gives them to its models.

    Raises:
        ServerError: nobody answers at the URL, the key is refused, or model or adapter are not served there.
        UsageError: the URL is none, or base and adapter would be the same request.
    """

    def __init__(self, settings: Settings, *, as_started: bool = False, tools: Sequence[Tool] = ()) -> None:
        self._settings, self._server = settings, settings.server
        self._seed, self._system_role = settings.generation.seed, settings.model.system_role
        self._url = api_url(settings.server.url)
        headers = request_headers(settings.server.headers, os.environ.get("LLMBENCH_API_KEY", ""))
        self._targets = targets(settings.server)
        self.variants = tuple(self._targets)
        self._slots = asyncio.Semaphore(settings.server.concurrency)
        self._tally: Counter[str] = Counter()
        self._left_open = 0
        self._fingerprints: set[str] = set()
        self._loop = BackgroundLoop()
        self._client = self._loop.run(self._connect(headers, settings.generation.timeout))
        try:
            self._loop.run(self._open(as_started=as_started))
            self._left_out = self._loop.run(self._find_left_out(tools)) if tools else {}
        except BaseException:
            self.close()
            raise

    def identity(self, variant: str) -> Mapping[str, str]:
        """What must be equal for a stored answer to be reused.

        Headers count by their hash, since they may be secret: gateways choose models and tenants by them. The key of
        `LLMBENCH_API_KEY` does not count.

        A server does not tell the hash of its weights: when they change behind the same names, answers must be asked
        for anew (`generation.cache: false`).
        """
        target = self._targets[variant]
        return {
            "backend": "server",
            "url": self._url,
            "model": str(target.model),
            "served": _canonical(self._served.get(str(target.model), {})),
            "loras": _canonical({number: lora.path for number, lora in self._loras.items()}),
            "request": _canonical(self._standing[variant]),
            "headers": hashlib.sha256(_canonical(self._server.headers).encode()).hexdigest(),
            "system_role": self._system_role,
            "seed": str(self._seed),
        }

    def weight(self, case: Case) -> int:
        """About the prompt's tokens, at four characters each."""
        return sum(len(message["content"]) for message in case.messages) // 4 + 1

    def batch_size(self) -> int:
        """How many cases `complete` should be handed at once: enough to keep every slot of the server busy."""
        return self._server.concurrency * _ROUNDS

    def complete(self, cases: Sequence[Case], variant: str) -> Iterator[Completion]:
        """Ask for all cases, yielding each completion as soon as it ends. Answers that fail are completions too.

        Raises:
            ServerError: the server is gone, or refuses key or model; what was yielded before stays valid.
        """
        answers: queue.SimpleQueue[Completion | None] = queue.SimpleQueue()
        asking = self._loop.submit(self._ask_all(cases, variant, answers))
        try:
            while (completion := answers.get()) is not None:
                yield completion
            asking.result()
        finally:
            asking.cancel()

    def stream(self, case: Case, variant: str, told: Callable[[str], None]) -> Completion:
        """Ask for one case, handing on its text as it arrives; all at once when `server.stream` is off.

        Raises:
            ServerError: as `complete`.
        """
        return self._loop.run(self._ask(case, variant, told))

    def tools_left_out(self, case: Case, variant: str) -> str | None:
        """Why the server does not give the case's tools to the model; None where it does, or there are none."""
        return self._left_out.get(variant) if case.tools else None

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """The completions unchanged: a chat server shows no hidden states."""
        return [completion for _, completion in pairs]

    def describe(self) -> Mapping[str, Any]:
        """Where the answers came from, and how their tokens were counted."""
        return {
            "backend": "server",
            "url": self._url,
            "models": {variant: target.model for variant, target in self._targets.items()},
            "engine": self._engine.text,
            "requests": self._standing,
            "system_role": self._system_role,
            "served": self._served,
            "loras": {str(number): lora.path for number, lora in self._loras.items()},
            "fingerprints": sorted(self._fingerprints),
            "headers": sorted(self._server.headers),
            "concurrency": self._server.concurrency,
            "retries": self._client.retried,
            "streams_left_open": self._left_open,
            "token_counts": ", ".join(f"{source}: {answers}" for source, answers in sorted(self._tally.items())),
        }

    def close(self) -> None:
        """Close the connections and end the thread. Closing twice is harmless."""
        if self._loop.running:
            self._loop.run(self._client.close())
        self._loop.close()

    async def _connect(self, headers: Mapping[str, str], timeout_s: float) -> ChatClient:
        return ChatClient(self._url, headers, self._server.concurrency, timeout_s, self._server.retries)

    async def _open(self, *, as_started: bool) -> None:
        """Find out where the API is and who answers there, and that it serves what will be asked for."""
        named = all(target.model is not None for target in self._targets.values())
        reached = await reach(self._client, _OPEN_TIMEOUT_S, named=named)
        self._url, self._loras = reached.url, dict(reached.loras or {})
        self._engine: Engine = await engine_behind(self._client, reached)
        models = self._engine.named(reached.models)
        self._targets = with_models(self._targets, models, self._url, all_listed=self._engine.lists_all)
        self._served = {
            target.model: models[target.model]
            for target in self._targets.values()
            if target.model is not None and target.model in models
        }
        self._standing = {
            variant: standing_body(self._settings, self._with_loras(target, reached.loras, as_started=as_started))
            for variant, target in self._targets.items()
        }
        for variant, standing in self._standing.items():
            if keys := unlike(self._standing[BASE], standing):
                told = N_("%s and %s are not asked alike (%s): give server.base_body and server.adapter_body the same")
                _log.warning(told, BASE, variant, ", ".join(keys))

    def _with_loras(
        self, target: VariantTarget, loaded: Mapping[int, Lora] | None, *, as_started: bool
    ) -> Mapping[str, Any]:
        if loaded is not None:
            if loaded and len(self._targets) == 1 and not target.loras and not as_started:
                _log.warning(
                    N_("%s has LoRA adapters %s, off for the base; ask one with server.adapter: lora:%d"),
                    self._url,
                    sorted(loaded),
                    min(loaded),
                    extra=naming("server.adapter"),
                )
            return with_loras(target.extra, loaded, self._url, as_started=as_started)
        if target.loras:
            _log.warning(N_("%s does not list its LoRA adapters: that they are loaded was not checked"), self._url)
        return target.extra

    async def _find_left_out(self, tools: Sequence[Tool]) -> dict[str, str | None]:
        return {
            variant: await why_tools_left_out(self._client, {**self._standing[variant], "model": target.model}, tools)
            for variant, target in self._targets.items()
        }

    async def _ask_all(
        self, cases: Sequence[Case], variant: str, answers: queue.SimpleQueue[Completion | None]
    ) -> None:
        pending = deque(cases)

        async def keep_a_slot_busy() -> None:
            while pending:
                try:
                    answers.put(await self._ask(pending.popleft(), variant))
                except ServerError:
                    pending.clear()  # what is being answered may end, nothing new is asked
                    raise

        slots = min(len(cases), self._server.concurrency)
        try:
            ends = await asyncio.gather(*(keep_a_slot_busy() for _ in range(slots)), return_exceptions=True)
        finally:
            answers.put(None)
        for failure in filter(None, ends):
            raise failure

    async def _ask(self, case: Case, variant: str, told: Callable[[str], None] | None = None) -> Completion:
        target = self._targets[variant]
        body = request_body(
            self._standing[variant],
            case.messages,
            system_role=self._system_role,
            model=target.model,
            seed=noise_key(self._seed, case.name, case.epoch) & _SEED_BITS,
            **tool_keys(case, self._server.tool_choice),
        )
        async with self._slots:
            reply = await self._client.ask(body, told)
        self._note(reply)
        return dataclasses.replace(_completion(case, variant, reply), tools_left_out=self.tools_left_out(case, variant))

    def _note(self, reply: Reply) -> None:
        if reply.fingerprint:
            self._fingerprints.add(reply.fingerprint)
        if reply.left_open:
            self._left_open += 1
            if self._left_open == 1:
                _log.warning(
                    N_("%s leaves streams open after the end of an answer, which costs a connection"), self._url
                )
        if reply.finish not in ("stop", "length"):
            return
        source = "server usage"
        if reply.tokens_counted or reply.completion_tokens is None:
            source = "stream deltas" if reply.tokens_counted else "unknown"
            if not self._tally[source]:
                _log.warning(N_("%s sends no usage; number of tokens: %s"), self._url, source)
        self._tally[source] += 1


def _completion(case: Case, variant: str, reply: Reply) -> Completion:
    return Completion(
        case=case.name,
        epoch=case.epoch,
        variant=variant,
        text=reply.text,
        finish=reply.finish,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        latency_s=reply.latency_s,
        first_token_s=reply.first_token_s,
        error=reply.error,
        reasoning=reply.reasoning,
        tool_calls=_calls(case, reply),
        timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _calls(case: Case, reply: Reply) -> tuple[Mapping[str, Any], ...] | None:
    """What the server took for calls, else what is written as calls in the text, for servers that take out none."""
    if reply.tool_calls or not case.tools:
        return reply.tool_calls or None
    return read_calls(reply.text, case.tools)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
