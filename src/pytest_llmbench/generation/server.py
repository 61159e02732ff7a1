"""A backend that asks a live OpenAI-compatible server (vLLM, llama.cpp, or any that speaks `/v1/chat/completions`)."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import os
import queue
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import ServerError
from pytest_llmbench.generation.background_loop import BackgroundLoop
from pytest_llmbench.generation.chat_client import ChatClient, Reply
from pytest_llmbench.generation.sampling import noise_key
from pytest_llmbench.generation.served_models import check_loras, listed_models, loaded_loras, targets, with_models
from pytest_llmbench.generation.server_address import api_url, request_headers
from pytest_llmbench.records import Completion

if TYPE_CHECKING:
    from pytest_llmbench.cases import Case
    from pytest_llmbench.settings import GenerationSettings, Settings

_LOG = logging.getLogger("pytest_llmbench")
_OPEN_TIMEOUT_S = 10.0
_OK = 200
_SERVER_FAULT = 500
_SEED_BITS = 0x7FFFFFFF  # what every server takes
_ROUNDS = 16
"""Answers a slot gives in one call of `complete`: the slots that idle at its end are then few among many."""


class ServerBackend:
    """Asks up to `settings.server.concurrency` questions at a time, on connections that are kept.

    The key comes from the environment (`LLMBENCH_API_KEY`) and goes nowhere but to the server.

    Raises:
        ServerError: nobody answers at the URL, the key is refused, or model or adapter are not served there.
        UsageError: the URL is none, or base and adapter would be the same request.
    """

    def __init__(self, settings: Settings) -> None:
        self._server = settings.server
        self._seed = settings.generation.seed
        self._sampling = sampling_body(settings.generation, stream=settings.server.stream)
        self._url = api_url(settings.server.url)
        headers = request_headers(settings.server.headers, os.environ.get("LLMBENCH_API_KEY", ""))
        self._targets = targets(settings.server)
        self.variants = tuple(self._targets)
        self._served: dict[str, Mapping[str, Any]] = {}
        self._loras: Mapping[int, str] = {}
        self._slots = asyncio.Semaphore(settings.server.concurrency)
        self._tally: Counter[str] = Counter()
        self._fingerprints: set[str] = set()
        self._loop = BackgroundLoop()
        self._client = self._loop.run(self._connect(headers, settings.generation.timeout))
        try:
            self._loop.run(self._verify())
        except BaseException:
            self.close()
            raise

    def identity(self, variant: str) -> Mapping[str, str]:
        """What must be equal for a stored answer to be reused.

        A server does not tell the hash of its weights: when they change behind the same names, answers must be asked
        for anew (`--llmbench-no-cache`).
        """
        target = self._targets[variant]
        return {
            "backend": "server",
            "url": self._url,
            "model": str(target.model),
            "served": _canonical(self._served.get(str(target.model), {})),
            "loras": _canonical(self._loras if target.loras else {}),
            "request": _canonical({**self._sampling, **target.extra}),
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

    def embed(self, pairs: Sequence[tuple[Case, Completion]]) -> list[Completion]:
        """The completions unchanged: a chat server shows no hidden states."""
        return [completion for _, completion in pairs]

    def describe(self) -> Mapping[str, Any]:
        """Where the answers came from, and how their tokens were counted."""
        return {
            "backend": "server",
            "url": self._url,
            "models": {variant: target.model for variant, target in self._targets.items()},
            "requests": {variant: {**self._sampling, **target.extra} for variant, target in self._targets.items()},
            "served": self._served,
            "loras": {str(number): path for number, path in self._loras.items()},
            "fingerprints": sorted(self._fingerprints),
            "headers": sorted(self._server.headers),
            "concurrency": self._server.concurrency,
            "retries": self._client.retried,
            "token_counts": ", ".join(f"{source}: {answers}" for source, answers in sorted(self._tally.items())),
        }

    def close(self) -> None:
        """Close the connections and end the thread. Closing twice is harmless."""
        if self._loop.running:
            self._loop.run(self._client.close())
        self._loop.close()

    async def _connect(self, headers: Mapping[str, str], timeout_s: float) -> ChatClient:
        return ChatClient(self._url, headers, self._server.concurrency, timeout_s, self._server.retries)

    async def _verify(self) -> None:
        """Prove that somebody answers there and serves what will be asked for."""
        status, body = await self._client.get(f"{self._url}/models", _OPEN_TIMEOUT_S)
        if status >= _SERVER_FAULT:
            raise ServerError(f"{self._url}: HTTP {status}, it is not ready; try again when its model is loaded")
        listed = listed_models(body)
        self._targets = with_models(self._targets, listed, self._url)
        if not listed:
            _LOG.warning("%s does not list its models: that they exist was not checked", self._url)
        self._served = {name: listed[name] for name in self._names() if name in listed}
        if any(target.loras for target in self._targets.values()):
            await self._verify_loras()

    async def _verify_loras(self) -> None:
        status, body = await self._client.get(f"{self._url.rpartition('/')[0]}/lora-adapters", _OPEN_TIMEOUT_S)
        if status != _OK:
            _LOG.warning("%s does not list its LoRA adapters: that they are loaded was not checked", self._url)
            return
        self._loras = loaded_loras(body)
        for target in self._targets.values():
            check_loras(target, self._loras, self._url)

    def _names(self) -> list[str]:
        return [str(target.model) for target in self._targets.values()]

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
        body = {
            "model": target.model,
            "messages": [dict(message) for message in case.messages],
            "seed": noise_key(self._seed, case.name, case.epoch) & _SEED_BITS,
            **self._sampling,
            **target.extra,
        }
        async with self._slots:
            reply = await self._client.ask({key: value for key, value in body.items() if value is not None}, told)
        self._note(reply)
        return _completion(case, variant, reply)

    def _note(self, reply: Reply) -> None:
        if reply.fingerprint:
            self._fingerprints.add(reply.fingerprint)
        if reply.finish not in ("stop", "length"):
            return
        source = "server usage"
        if reply.tokens_counted or reply.completion_tokens is None:
            source = "stream deltas" if reply.tokens_counted else "unknown"
            if not self._tally[source]:
                _LOG.warning("%s sends no usage; number of tokens: %s", self._url, source)
        self._tally[source] += 1


def sampling_body(generation: GenerationSettings, *, stream: bool) -> dict[str, Any]:
    """The part of the request that is the same for every case; greedy when nothing is to be sampled."""
    body: dict[str, Any] = {"max_tokens": generation.max_new_tokens, "temperature": 0.0, "stream": stream}
    if generation.do_sample:
        body |= {"temperature": generation.temperature, "top_p": generation.top_p}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return body


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
        timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
