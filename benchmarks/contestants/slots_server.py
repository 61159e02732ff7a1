"""A server of known capacity for load generators of any kind: slots, a queue in order of arrival, noise, stalls.

The queueing model of `queueing.py`, over real HTTP and server-sent events on loopback:
`python slots_server.py PORT '{"slots": 8, "prefill_s": 0.03, ...}'`. `GET /stats` tells how many requests and
connections it has seen.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
from typing import Any

from aiohttp import web

TOKENS = 8
_WORDS = [f"mot{place} " for place in range(TOKENS)]


class SlotsServer:
    """Requests wait for a slot; a stalled one keeps its user waiting, and holds its slot where the model says so."""

    def __init__(self, model: dict[str, Any]) -> None:
        self._model = model
        self._slots = asyncio.Semaphore(model["slots"])
        self._random = random.Random(model.get("seed", 0))  # noqa: S311  # noise, not secrets
        self._sigma = math.sqrt(math.log1p(model["noise"] ** 2))
        self._busy = self._requests = 0
        self._peers: set[object] = set()

    def app(self) -> web.Application:
        """The routes that load generators ask for."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/stats", self._stats)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self._peers.add(request.transport.get_extra_info("peername"))
        self._requests += 1
        model = self._model
        prefill_s, decode_s = model["prefill_s"] * self._factor(), model["decode_s"] * self._factor()
        late_s = model["stall_s"] if self._random.random() < model["stall_share"] else 0.0
        held_s = late_s if model["stall_holds_slot"] else 0.0
        body = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._busy += 1
        try:
            await response.prepare(request)
            async with self._slots:
                if held_s == late_s:
                    await asyncio.sleep(prefill_s + held_s)
                    await self._answer(response, decode_s)
                else:  # the slot works on while the answer is late on its way
                    await asyncio.sleep(prefill_s + decode_s)
            if held_s != late_s:
                await asyncio.sleep(max(0.0, late_s - decode_s))
                await self._answer(response, decode_s)
            await self._goodbye(response, body)
        except ConnectionResetError:
            pass  # the client left, as load generators do at the end of a trial
        finally:
            self._busy -= 1
        return response

    async def _answer(self, response: web.StreamResponse, seconds: float) -> None:
        for word in _WORDS:
            await response.write(_event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}))
            await asyncio.sleep(seconds / TOKENS)

    async def _goodbye(self, response: web.StreamResponse, body: dict[str, Any]) -> None:
        await response.write(_event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 16, "completion_tokens": TOKENS, "total_tokens": 16 + TOKENS}
            await response.write(_event({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")

    def _factor(self) -> float:
        """Lognormal, of mean 1."""
        return math.exp(self._random.gauss(0, 1) * self._sigma - self._sigma**2 / 2)

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "slots", "object": "model"}]})

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _metrics(self, _request: web.Request) -> web.Response:
        running = min(self._busy, self._model["slots"])
        lines = f"llamacpp:requests_processing {running}\nllamacpp:requests_deferred {self._busy - running}\n"
        return web.Response(text=lines)

    async def _stats(self, _request: web.Request) -> web.Response:
        return web.json_response({"requests": self._requests, "connections": len(self._peers)})


def _event(body: dict[str, Any]) -> bytes:
    whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "slots", **body}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


async def _serve(port: int, model: dict[str, Any]) -> None:
    runner = web.AppRunner(SlotsServer(model).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), json.loads(sys.argv[2])))
