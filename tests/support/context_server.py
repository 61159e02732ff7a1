"""A `KnownContext` over HTTP: an OpenAI-compatible server on loopback, in the forms that engines give their pages.

A token is a word, and the chat template adds `TEMPLATE` of them.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from aiohttp import web

from pytest_llmbench.generation.client.background_loop import BackgroundLoop
from support.known_context import KnownContext

Engine = Literal["vllm", "llamacpp", "tgi", "sglang", "silent"]
"""Whose pages count tokens: "silent" has none."""
Failure = Literal["status", "event", "memory", "close"]
"""How a prompt that is too long is refused: by a status, by an error in a stream, for want of memory, by hanging up."""

TEMPLATE = 7
_CODE = re.compile(r"(?:code of the|code d'accès du) (?P<place>[\w -]+?) (?:is|est) (?P<code>\d{5})")


class ContextServer:
    """Runs in a thread. It finds every fact that it has read; `scale` makes it so many times as fast as its law.

    `prompts` are the texts that were sent, `asked` the models that they were for, `usage` tells whether it counts them,
    `shift` lets answers go on beyond the context, and `off` is what its own count is wrong by. A `fine_tune` is listed
    beside the base, with its `parent`.
    """

    def __init__(  # noqa: PLR0913  # all by name, and all with a default
        self,
        known: KnownContext | None = None,
        *,
        engine: Engine = "vllm",
        fails: Failure = "status",
        usage: bool = True,
        announced: int | None = None,
        slots: int | None = None,
        shift: bool = False,
        off: int = 0,
        scale: float = 1000.0,
        fine_tune: str | None = None,
        parent: str = "known",
    ) -> None:
        self.known, self.engine, self.fails = known or KnownContext(), engine, fails
        self.prompts: list[str] = []
        self.asked: set[str | None] = set()
        self._fine_tune, self._parent = fine_tune, parent
        self._usage, self._announced, self._slots, self._shift, self._off = usage, announced, slots, shift, off
        self._scale, self._draw, self._read = scale, random.Random(self.known.seed), set[str]()
        self._loop = BackgroundLoop()
        self.url = f"http://127.0.0.1:{self._loop.run(self._start())}/v1"

    def close(self) -> None:
        """Stop at once."""
        self._loop.run(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> int:
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        if self._announced and self.engine == "llamacpp":
            app.router.add_get("/props", self._props)
        for page in {"vllm": ["/tokenize"], "sglang": ["/tokenize"], "tgi": ["/chat_tokenize"]}.get(self.engine, []):
            app.router.add_post(page, self._tokenize)
        if self.engine == "llamacpp":
            app.router.add_post("/apply-template", self._apply_template)
            app.router.add_post("/tokenize", self._tokenize)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def _models(self, _request: web.Request) -> web.Response:
        about = {"max_model_len": self._announced} if self._announced and self.engine != "llamacpp" else {}
        owner = {"owned_by": self.engine} if self.engine in ("vllm", "llamacpp", "sglang") else {}
        tuned = [{"id": self._fine_tune, "parent": self._parent, **owner}] if self._fine_tune else []
        return web.json_response({"data": [{"id": "known", **owner, **about}, *tuned]})

    async def _props(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {"default_generation_settings": {"n_ctx": self._announced}, "total_slots": self._slots or 1}
        )

    async def _apply_template(self, request: web.Request) -> web.Response:
        (message,) = (await request.json())["messages"]
        return web.json_response({"prompt": " ".join(["<t>"] * TEMPLATE) + " " + message["content"]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.engine == "vllm" and "messages" in body:
            return web.json_response({"count": TEMPLATE + _words(body["messages"][0]["content"]) + self._off})
        if self.engine == "sglang" and "prompt" in body:
            return web.json_response({"count": _words(body["prompt"]) + self._off})
        if self.engine == "tgi":
            tokens = [{"id": place} for place in range(TEMPLATE + _words(body["messages"][0]["content"]) + self._off)]
            return web.json_response({"tokenize_response": tokens})
        if self.engine == "llamacpp" and "content" in body:
            return web.json_response({"tokens": list(range(_words(body["content"]) + self._off))})
        return web.json_response({"error": {"message": "field required"}}, status=400)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = str(body["messages"][-1]["content"])
        self.prompts.append(text)
        self.asked.add(body.get("model"))
        tokens, known = TEMPLATE + _words(text), self.known
        lost = known.loses(tokens)
        if lost or (tokens > known.limit and known.beyond == "refuse"):
            return await self._refuse(request, known.words(tokens), "close" if lost == "server_gone" else self.fails)
        read = min(tokens, known.limit)
        noise = math.exp(self._draw.gauss(0, known.noise)) if known.noise else 1.0
        cached = known.prefix_cache and text in self._read
        self._read.add(text)
        await asyncio.sleep(0.0005 if cached else known.law(read) * noise / self._scale)
        answer = self._answer(text)[: body.get("max_tokens") or 10**6]
        if not self._shift:
            answer = answer[: max(1, known.limit + 1 - read)]
        return await self._say(request, body, answer, read, tokens if cached else 0)

    def _answer(self, text: str) -> list[str]:
        """The codes that the last line asks for, a word each, and then some."""
        *lines, question = text.split("\n")
        facts = [found for line in lines if (found := _CODE.search(line))]
        asked = [found["code"] for found in facts if re.search(rf"\b{found['place']}\b", question)]
        return [*asked, *(f"word{place}" for place in range(30))]

    async def _say(
        self, request: web.Request, body: dict[str, Any], answer: list[str], read: int, cached: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in answer:
            await response.write(_event({"choices": [{"index": 0, "delta": {"content": f"{word} "}}]}))
        finish = "length" if len(answer) == body.get("max_tokens") else "stop"
        await response.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
        if self._usage:
            counted: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": len(answer)}
            if self.known.prefix_cache:
                counted["prompt_tokens_details"] = {"cached_tokens": cached}
            await response.write(_event({"choices": [], "usage": counted}))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _refuse(self, request: web.Request, why: str, fails: Failure) -> web.StreamResponse:
        if fails == "close":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if fails == "status":
            return web.json_response({"error": {"message": why, "code": 400}}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        told = "CUDA out of memory" if fails == "memory" else why
        await response.write(_event({"error": {"message": told, "code": 500}}))
        return response


@contextmanager
def context_server(known: KnownContext | None = None, **options: Any) -> Iterator[ContextServer]:
    """One server, closed at the end."""
    server = ContextServer(known, **options)
    try:
        yield server
    finally:
        server.close()


def _words(text: str) -> int:
    return len(text.split())


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"
