"""A small OpenAI-compatible server in a thread that misbehaves as it is told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from pytest_llmbench.generation.client.background_loop import BackgroundLoop

Behaviour = Callable[["FakeChatServer", web.Request], Awaitable[web.StreamResponse]]


class FakeChatServer:
    """Each question takes the next of `behaviours`; the last one stays. What was seen is kept for the test to judge.

    `pages` are more pages by path, as (status, body, headers); `root` is where the API lies.
    """

    def __init__(self, *behaviours: Behaviour, models: tuple[str, ...] = ("smol",), root: str = "/v1") -> None:
        self.behaviours = list(behaviours)
        self.pages: dict[str, tuple[int, Any, dict[str, str]]] = {}
        self.pages_seen: list[tuple[str, dict[str, str]]] = []
        self._root = root
        self.listing: Any = {"data": [{"id": name, "created": time.time_ns()} for name in models]}
        self.loras: Any = None
        self.status = 200
        self.listing_headers: dict[str, str] = {}
        self.silent = False
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked_at: list[float] = []
        self.connections: set[object] = set()
        self.busy = self.most_busy = 0
        self._loop = BackgroundLoop()
        self.url = f"http://127.0.0.1:{self._loop.run(self._start())}"

    def close(self) -> None:
        self._loop.run(self._runner.cleanup())
        self._loop.close()

    async def stop_listening(self) -> None:
        await self._site.stop()

    async def _start(self) -> int:
        app = web.Application()
        app.router.add_get(f"{self._root}/models", self._models)
        app.router.add_get("/lora-adapters", self._lora_adapters)
        app.router.add_post(f"{self._root}/chat/completions", self._chat)
        app.router.add_get("/{page:.*}", self._page)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, access_log=None)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await self._site.start()
        return int(self._runner.addresses[0][1])

    async def _models(self, _request: web.Request) -> web.Response:
        if self.silent:
            await asyncio.sleep(30)
        return web.json_response(self.listing, status=self.status, headers=self.listing_headers)

    async def _page(self, request: web.Request) -> web.Response:
        self.pages_seen.append((request.path, dict(request.headers)))
        status, body, headers = self.pages.get(request.path, (404, {"detail": "Not Found"}, {}))
        return web.json_response(body, status=status, headers=headers)

    async def _lora_adapters(self, _request: web.Request) -> web.Response:
        return web.json_response(self.loras, status=200 if self.loras is not None else 404)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.asked_at.append(time.monotonic())
        self.bodies.append(await request.json())
        self.headers.append(dict(request.headers))
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        try:
            return await behaviour(self, request)
        finally:
            self.busy -= 1
            self.connections.add(peer(request))


def peer(request: web.Request) -> object:
    """What tells one connection from another."""
    assert request.transport is not None
    return request.transport.get_extra_info("peername")


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}\n\n'


async def started(request: web.Request, content_type: str = "text/event-stream") -> web.StreamResponse:
    """A stream whose headers are sent."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    return response


def event(body: dict[str, Any], name: str | None = None) -> bytes:
    """A server-sent event."""
    named = b"" if name is None else f"event: {name}\n".encode()
    return named + b"data: " + json.dumps(body).encode() + b"\n\n"


def delta(finish: str | None = None, **keys: Any) -> bytes:
    """An event with this delta."""
    return event({"choices": [{"index": 0, "delta": keys, "finish_reason": finish}]})


def streaming(*parts: bytes, content_type: str = "text/event-stream") -> Behaviour:
    """Send these bytes and end the body."""

    async def behave(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        response = await started(request, content_type)
        for part in parts:
            await response.write(part)
        return response

    return behave


def well(text: str = "oui") -> Behaviour:
    """A proper answer of two tokens."""
    return streaming(chunk(text[:1]), chunk(text[1:]), chunk(finish="stop"), USAGE, DONE)


def whole(*, content_type: str = "application/json", status: int = 200, **body: Any) -> Behaviour:
    """A JSON answer, for a client that does not stream."""

    async def behave(_server: FakeChatServer, _request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, content_type=content_type)

    return behave


def refusing(status: int, message: str = "no", **headers: str) -> Behaviour:
    """An error status with a body as OpenAI's."""

    async def behave(_server: FakeChatServer, _request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"error": {"message": message}}, status=status, headers=named)

    return behave


def cutting(*parts: bytes) -> Behaviour:
    """Send these bytes and cut the connection; with none, before the first byte."""

    async def behave(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        response = await started(request) if parts else web.StreamResponse()
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0.01)  # lets the bytes leave before the connection is cut
        assert request.transport is not None
        request.transport.close()
        return response

    return behave


def hanging(*parts: bytes) -> Behaviour:
    """Send these bytes and then nothing, for longer than any test waits."""

    async def behave(_server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        response = await started(request) if parts else web.StreamResponse()
        for part in parts:
            await response.write(part)
        await asyncio.sleep(30)
        return response

    return behave


async def refusing_reuse(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """Answer on a new connection, and cut one that was used before: a keep-alive that ran out."""
    behave = cutting() if peer(request) in server.connections else well()
    return await behave(server, request)


async def answering_last(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """Answer this one and accept no connection any more."""
    await server.stop_listening()
    response = await started(request)
    response.force_close()
    await response.write(chunk("oui", "stop") + DONE)
    await response.write_eof()
    assert request.transport is not None
    request.transport.close()
    return response
