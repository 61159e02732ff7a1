"""An OpenAI-compatible server, real HTTP and server-sent events on loopback, that behaves as a known queueing model.

It keeps what it saw on its own clock (`served`), which is the machine's monotonic clock, as the client's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from aiohttp import web

from pytest_llmbench.generation.client.background_loop import BackgroundLoop
from support.calibrated_engine import Calibration, Engine, Job

Fault = int | Literal["hang", "hang_first", "cut", "truncate", "garbage", "drop", "empty"] | None
"""A status to refuse with, or: hang after or before the first token, cut the connection, end the stream too early,
send no JSON, close before the first byte, answer nothing."""

_LLAMA = "llamacpp:requests_processing {running}\nllamacpp:requests_deferred {waiting}\n"
_VLLM = (
    "# TYPE vllm:num_requests_running gauge\n"
    'vllm:num_requests_running{{model_name="calibrated"}} {running}.0\n'
    'vllm:num_requests_waiting{{model_name="calibrated"}} {waiting}.0\n'
)


@dataclasses.dataclass
class Served:
    """One request as the server saw it. Times are monotonic seconds. `ahead` were in line or in a slot before it."""

    number: int
    peer: object
    body: dict[str, Any]
    arrived: float
    ahead: int
    first_token: float | None = None
    ended: float | None = None
    tokens: int = 0
    aborted: bool = False

    @property
    def prompt(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


class CalibratedServer:
    """Runs in a thread, `scale` times as fast as the model's clock.

    An answer has `reasoning_tokens` and then `answer_tokens`, unless `max_tokens` cuts it. `fault` says of each
    request, by its number, how it goes wrong; refusals say `retry_after`. `open` counts the requests being answered,
    `connections` who asked.
    """

    def __init__(  # noqa: PLR0913  # all by name, and all with a default
        self,
        calibration: Calibration | None = None,
        *,
        scale: float = 1.0,
        answer_tokens: int = 8,
        reasoning_tokens: int = 0,
        metrics: Literal["llama.cpp", "vllm"] | None = "llama.cpp",
        usage: bool = True,
        key: str | None = None,
        retry_after: str | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        fault: Callable[[int], Fault] = lambda _number: None,
    ) -> None:
        self.engine = Engine(calibration or Calibration())
        self.fault = fault
        self.served: list[Served] = []
        self.connections: set[object] = set()
        self.open = self.most_open = self.most_connected = 0
        self.headers: dict[str, str] = {}
        self._scale, self._answer, self._reasoning = scale, answer_tokens, reasoning_tokens
        self._metrics, self._usage, self._key, self._tls = metrics, usage, key, tls
        self._refusal_headers = {"Retry-After": retry_after} if retry_after else {}
        self._port = port
        self._channels: dict[Job, asyncio.Queue[int]] = {}
        self._loop = BackgroundLoop()
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._loop.run(self._start())}/v1"

    def close(self) -> None:
        """Stop at once."""
        if self._loop.running:
            self._loop.run(self._stop())
        self._loop.close()

    def occupy(self) -> None:
        """Give a slot to somebody else for good."""

        async def submit() -> None:
            self.engine.submit(["endless"], 10**9)
            self._work.set()

        self._loop.run(submit())

    @property
    def busy(self) -> int:
        """Requests in line or in a slot."""
        return len(self.engine.waiting) + len(self.engine.running)

    async def _start(self) -> int:
        self._work = asyncio.Event()
        self._engine_task = asyncio.create_task(self._run_engine())
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096, ssl_context=self._tls).start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        self._engine_task.cancel()
        await asyncio.sleep(0.01)  # a connection that is being accepted while asyncio's server closes would leak
        await self._runner.cleanup()

    async def _run_engine(self) -> None:
        """Keeps to the model's time even when a sleep comes late, so that lateness does not add up."""
        due = 0.0
        while True:
            if not self.busy:
                self._work.clear()
                await self._work.wait()
                due = time.monotonic()
            seconds, given = self.engine.step()
            due += seconds / self._scale
            await asyncio.sleep(due - time.monotonic())
            for job, tokens in given:
                if channel := self._channels.get(job):
                    channel.put_nowait(tokens)

    async def _models(self, request: web.Request) -> web.Response:
        if self._key and request.headers.get("Authorization") != f"Bearer {self._key}":
            return web.json_response({"error": {"message": "invalid key"}}, status=401)
        owner = {"owned_by": self._metrics.replace(".", "")} if self._metrics else {}
        return web.json_response({"data": [{"id": "calibrated", **owner}]})

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        if self._metrics is None:
            return web.Response(status=404)
        page = _LLAMA if self._metrics == "llama.cpp" else _VLLM
        return web.Response(text=page.format(running=len(self.engine.running), waiting=len(self.engine.waiting)))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        seen = Served(len(self.served), peer, {}, time.monotonic(), self.busy)
        self.served.append(seen)
        self.connections.add(peer)
        assert self._runner.server is not None
        self.most_connected = max(self.most_connected, len(self._runner.server.connections))
        self.headers = dict(request.headers)
        seen.body = await request.json()
        with self._counted():
            try:
                return await self._answered(request, seen)
            except (asyncio.CancelledError, ConnectionResetError):
                seen.aborted = True
                raise
            finally:
                seen.ended = time.monotonic()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            yield
        finally:
            self.open -= 1

    async def _answered(self, request: web.Request, seen: Served) -> web.StreamResponse:
        fault = self.fault(seen.number)
        if isinstance(fault, int):
            refusal = {"error": {"message": "calibrated refusal"}}
            return web.json_response(refusal, status=fault, headers=self._refusal_headers)
        if fault in ("drop", "hang_first"):
            if fault == "hang_first":
                await asyncio.sleep(3600)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        wanted = min(self._reasoning + self._answer, seen.body.get("max_tokens") or 10**9)
        messages = [str(message["content"]) for message in seen.body["messages"]]
        with self._job(messages, wanted) as channel:
            if seen.body.get("stream"):
                return await self._stream(request, seen, channel, fault, wanted)
            while seen.tokens < wanted:
                seen.tokens += await channel.get()
            return web.json_response(self._whole(seen, wanted))

    @contextmanager
    def _job(self, messages: list[str], wanted: int) -> Iterator[asyncio.Queue[int]]:
        job = self.engine.submit(messages, wanted)
        channel = self._channels[job] = asyncio.Queue()
        self._work.set()
        try:
            yield channel
        finally:
            del self._channels[job]
            self.engine.abort(job)

    async def _stream(
        self, request: web.Request, seen: Served, channel: asyncio.Queue[int], fault: Fault, wanted: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while seen.tokens < wanted and fault != "empty":
            for _ in range(await channel.get()):
                seen.first_token = seen.first_token or time.monotonic()
                key = "reasoning_content" if seen.tokens < self._reasoning else "content"
                await response.write(_event({"choices": [{"index": 0, "delta": {key: f"t{seen.tokens} "}}]}))
                seen.tokens += 1
            if fault == "hang":
                await asyncio.sleep(3600)
            if fault == "garbage":
                await response.write(b"data: {oops\n\n")
            if fault == "cut":
                assert request.transport is not None
                request.transport.abort()
            if fault is not None:
                return response
        finish = "stop" if wanted == self._reasoning + self._answer else "length"
        await response.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
        if self._usage and seen.body.get("stream_options", {}).get("include_usage") and fault != "empty":
            await response.write(_event({"choices": [], "usage": _usage(seen)}))
        await response.write(b"data: [DONE]\n\n")
        return response

    def _whole(self, seen: Served, wanted: int) -> dict[str, Any]:
        finish = "stop" if wanted == self._reasoning + self._answer else "length"
        message = {"role": "assistant", "content": " ".join(f"t{place}" for place in range(seen.tokens))}
        usage = {"usage": _usage(seen)} if self._usage else {}
        return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **usage}


Serve = Callable[..., CalibratedServer]
"""Starts a server: its calibration, and what else differs from ten times the model's speed and a good answer."""


@contextmanager
def calibrated_servers() -> Iterator[Serve]:
    """Start as many as are needed; all are closed at the end."""
    servers: list[CalibratedServer] = []

    def start(calibration: Calibration | None = None, **options: Any) -> CalibratedServer:
        servers.append(CalibratedServer(calibration, **{"scale": 10.0, **options}))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.close()


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _usage(seen: Served) -> dict[str, int]:
    words = sum(len(str(message["content"]).split()) for message in seen.body["messages"])
    return {"prompt_tokens": words, "completion_tokens": seen.tokens}
