from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from aiohttp import web

from pytest_llmbench.autotune.targets import FoundServer, Target, chat_server, find_servers
from pytest_llmbench.core.settings import Settings

Pages = dict[str, Any]


def models(owner: str | None, *names: str) -> Pages:
    return {"/v1/models": {"data": [{"id": name, "object": "model", "owned_by": owner} for name in names]}}


def found(*servers: Pages) -> list[FoundServer]:
    """What is found at one port a server and at one where nobody is; an int for a page is a status."""

    async def run() -> list[FoundServer]:
        runners, ports = [], []
        for pages in servers:
            runner = web.AppRunner(_app(pages))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            runners.append(runner)
            ports.append(int(site.name.rpartition(":")[2]))
        with socket.socket() as nobody:  # bound, and nobody listens
            nobody.bind(("127.0.0.1", 0))
            answers = await find_servers([*ports, nobody.getsockname()[1]])
        for runner in runners:
            await runner.cleanup()
        return answers

    return asyncio.run(run())


def _app(pages: Pages) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        page = pages.get(request.path, 404)
        if isinstance(page, int):
            return web.json_response({"error": "no"}, status=page)
        return web.Response(text=page, content_type="text/html") if isinstance(page, str) else web.json_response(page)

    app = web.Application()
    app.router.add_get("/{anything:.*}", answer)
    return app


@pytest.mark.parametrize(
    ("pages", "engine"),
    [
        (models("vllm", "m"), "vLLM"),
        (models("llamacpp", "m"), "llama.cpp"),
        (models("sglang", "m"), "SGLang"),
        (models("library", "m"), "Ollama"),
        (models("organization_owner", "m") | {"/api/v0/models": {"data": []}}, "LM Studio"),
        (models(None, "m") | {"/props": {"default_generation_settings": {}}}, "llama.cpp"),
        (models("me", "m") | {"/api/tags": {"models": []}, "/version": {"version": "1"}}, "Ollama"),
        (models("me", "m") | {"/get_model_info": {"model_path": "m"}}, "SGLang"),
        (models("me", "m") | {"/version": {"version": "0.11"}}, "vLLM"),
        (models("me", "m"), None),
    ],
)
def test_an_engine_is_told_by_what_it_answers(pages: Pages, engine: str | None) -> None:
    [server] = found(pages)
    assert (server.engine, server.models, server.locked) == (engine, ("m",), False)


def test_servers_come_in_the_order_of_the_ports_with_all_their_models() -> None:
    servers = found(models("vllm", "base", "lora"), models("library", "m"))
    assert [server.models for server in servers] == [("base", "lora"), ("m",)]


def test_a_server_that_wants_a_key_is_found_and_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", "secret-of-another-server")
    [server] = found({"/v1/models": 401, "/version": {"version": "0.11"}})
    assert (server.engine, server.models, server.locked) == ("vLLM", (), True)


@pytest.mark.parametrize("page", [404, 500, "<html>", [], {"data": "none"}, {"models": []}])
def test_another_program_on_the_port_is_no_server(page: Any) -> None:
    assert found({"/v1/models": page}) == []


@pytest.mark.parametrize(
    ("latency", "timeout", "waited"), [(3.0, 30.0, 30.0), (45.0, 30.0, 135.0), (45.0, 600.0, 600.0)]
)
def test_no_answer_is_cut_off_within_its_promise(latency: float, timeout: float, waited: float) -> None:
    settings = Settings.model_validate({"load": {"latency": latency}, "generation": {"timeout": timeout}})
    assert chat_server(settings, Target("http://127.0.0.1:1/v1")).timeout_s == waited
