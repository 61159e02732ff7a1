"""Pages beside the questions that a server refuses, hides or has somewhere else: all of them are optional."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from support.fake_chat_server import DONE, Behaviour, FakeChatServer, delta, event, refusing, streaming, well, whole

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import as_openai
from pytest_llmbench.core.errors import ServerError
from pytest_llmbench.core.records import BASE, FINETUNED, Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.client.backend import ServerBackend
from pytest_llmbench.generation.client.message_parts import ToolCalls
from pytest_llmbench.load.client import ChatServer
from pytest_llmbench.load.conversations import Conversation, Conversations
from pytest_llmbench.load.trial import LoadTest

CASES = [Case("voice", "c", "bonjour", ({"role": "user", "content": "bonjour"},))]
TALKS = [Conversation(("bonjour",))]
KEY = "sk-secret-of-the-user"
Serve = Callable[..., FakeChatServer]

LORAS = [{"id": 0, "path": "a.gguf", "scale": 1.0}, {"id": 3, "path": "b.gguf", "scale": 0.5}]

TOOL = as_openai({"name": "louder", "parameters": {"type": "object", "properties": {"by": {"type": "integer"}}}})
CALLED = {"name": "louder", "arguments": {"by": 2}}
PIECES = [
    delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "louder", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"by"'}}]),
    delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "louder", "arguments": "{}"}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": ": 2}"}}]),
    delta("tool_calls"),
]

Ask = Callable[..., tuple[FakeChatServer, Completion]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as servers:

        def start(*behaviours: Any, **options: Any) -> FakeChatServer:
            server = FakeChatServer(*(behaviours or (well(),)), **options)
            servers.callback(server.close)
            return server

        yield start


@pytest.fixture(autouse=True)
def _key_and_short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_API_KEY", KEY)
    monkeypatch.setattr("pytest_llmbench.generation.client.backend._OPEN_TIMEOUT_S", 2.0)
    monkeypatch.setattr("pytest_llmbench.load.trial._OPEN_TIMEOUT_S", 2.0)


def benchmarked(url: str, variant: str = BASE, **server: Any) -> dict[str, Any]:
    """What the backend tells of itself after one question."""
    raw = {"server": {"url": url, "retries": 0, **server}, "generation": {"timeout": 5.0}}
    backend = ServerBackend(Settings.model_validate(raw))
    try:
        [completion] = backend.complete(CASES, variant)
        assert completion.error is None
        return dict(backend.describe())
    finally:
        backend.close()


def loaded(url: str, **body: Any) -> ChatServer:
    """The server as a load test asks it."""

    async def open_it() -> ChatServer:
        asked = ChatServer.at(url, body=body, timeout_s=5.0)
        async with LoadTest(asked, Conversations(TALKS), processes=1) as load:
            assert await load.presence.answers()
            return load.server

    return asyncio.run(open_it())


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 404, 405, 500, 503])
def test_a_list_of_models_that_is_refused_is_said_and_worked_round(
    serve: Serve, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    server = serve()
    server.status, server.listing_headers = status, {"Location": "https://other/"} if status == 302 else {}
    assert benchmarked(server.url, model="mine")["models"] == {BASE: "mine"}
    assert loaded(server.url, model="mine").body["model"] == "mine"
    said = [record.message for record in caplog.records if "was not checked" in record.message]
    assert len(said) == 2
    assert f"GET {server.url}/v1/models gave no list of models" in said[0]
    assert KEY not in caplog.text


def test_a_list_of_models_that_never_comes_is_worked_round_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.generation.client.backend._OPEN_TIMEOUT_S", 0.2)
    server = serve()
    server.silent = True
    assert benchmarked(server.url, model="mine")["models"] == {BASE: "mine"}


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "set the server's key in LLMBENCH_API_KEY"),
        (301, "it redirects to https://other/v1/models, where nothing was sent; .*server.url: https://other/v1"),
        (503, "may still be loading its model"),
        (200, "it holds none"),
    ],
)
def test_without_a_list_and_a_name_nobody_knows_what_to_ask(serve: Serve, status: int, advice: str) -> None:
    server = serve()
    server.status, server.listing = status, {"data": []}
    server.listing_headers = {"Location": "https://other/v1/models"} if status == 301 else {}
    for open_it in (benchmarked, loaded):
        with pytest.raises(ServerError, match=f"/v1/models gave no list.*{advice}.*with server\\.model$") as raised:
            open_it(server.url)
        assert "server.model" in raised.value.names


def test_a_redirect_is_not_followed_and_the_key_stays_here(serve: Serve) -> None:
    other = serve()
    elsewhere = {"Location": f"{other.url}/v1/chat/completions"}
    server = serve(refusing(307, **elsewhere))
    server.status, server.listing_headers = 307, {"Location": f"{other.url}/v1/models"}
    server.pages["/metrics"] = (302, {}, {"Location": f"{other.url}/metrics"})
    for open_it in (benchmarked, loaded):
        with pytest.raises(ServerError, match=f"POST {server.url}.*HTTP 307.*server.url: {other.url}/v1"):
            open_it(server.url, model="mine")
    assert (other.bodies, other.pages_seen) == ([], [])


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 500])
def test_metrics_that_are_refused_leave_the_probe(serve: Serve, caplog: pytest.LogCaptureFixture, status: int) -> None:
    server = serve()
    server.pages["/metrics"] = (status, {"detail": "for admins"}, {})
    loaded(server.url)
    assert ("for admins): whether the server is idle is told by" in caplog.text) == (status != 404)
    assert all(body["max_tokens"] == 1 for body in server.bodies)
    assert len(server.bodies) >= 3


@pytest.mark.parametrize(
    ("listed", "asked", "sent"),
    [
        ("qwen3:latest", "qwen3", "qwen3:latest"),
        ("qwen3", "qwen3:latest", "qwen3"),
        ("openai/*", "openai/gpt", "openai/gpt"),
    ],
)
def test_a_name_may_lack_its_tag_or_stand_for_a_pattern(serve: Serve, listed: str, asked: str, sent: str) -> None:
    server = serve(models=(listed, "other"))
    assert benchmarked(server.url, model=asked)["models"] == {BASE: sent}
    assert loaded(server.url, model=asked).body["model"] == sent


def test_a_root_is_used_as_it_is_written_and_may_lack_its_version(serve: Serve) -> None:
    server = serve(root="/v1beta/openai")
    assert benchmarked(f"{server.url}/v1beta/openai/")["url"] == f"{server.url}/v1beta/openai"
    server = serve(root="/team/llm/v1")
    assert benchmarked(f"{server.url}/team/llm")["url"] == f"{server.url}/team/llm/v1"
    assert loaded(f"{server.url}/team/llm").url == f"{server.url}/team/llm/v1"
    server = serve(root="/team")
    assert benchmarked(f"{server.url}/team/chat/completions")["url"] == f"{server.url}/team/chat/completions"


@pytest.mark.parametrize(
    ("owner", "page", "body", "engine"),
    [
        ("vllm", "/version", {"version": "0.11.0"}, "vLLM 0.11.0"),
        ("llamacpp", "/props", {"build_info": "b7000-abc"}, "llama.cpp b7000-abc"),
        ("library", "/api/version", {"version": "0.13"}, "Ollama 0.13"),
        ("sglang", "/server_info", {"version": "0.5"}, "SGLang 0.5"),
        ("me", "/info", {"max_total_tokens": 1, "version": "3.1"}, "TGI 3.1"),
        ("openai", "/health/readiness", {"litellm_version": "1.80"}, "LiteLLM 1.80"),
        ("vllm", "/nothing", {}, "vLLM"),
    ],
)
def test_the_engine_and_its_version_are_provenance(
    serve: Serve, owner: str, page: str, body: dict[str, Any], engine: str
) -> None:
    server = serve()
    server.listing["data"][0]["owned_by"] = owner
    server.pages[page] = (200, body, {})
    assert benchmarked(server.url)["engine"] == engine


@pytest.mark.parametrize(
    ("owner", "adapter", "asked"),
    [
        ("sglang", "jarvis", "org/qwen:jarvis"),
        ("sglang", "org/qwen:jarvis", "org/qwen:jarvis"),
        ("vllm", "jarvis", "jarvis"),
    ],
)
def test_an_adapter_is_asked_by_the_name_that_its_engine_answers_to(
    serve: Serve, owner: str, adapter: str, asked: str
) -> None:
    server = serve()
    entry = {"owned_by": owner, "root": "/adapters/jarvis", "parent": "org/qwen"}
    server.listing = {"data": [{"id": "org/qwen", "owned_by": owner}, {"id": "jarvis", **entry}]}
    told = benchmarked(server.url, FINETUNED, adapter=adapter)
    assert told["models"] == {BASE: "org/qwen", FINETUNED: asked}
    assert told["served"][asked] == {"id": "jarvis", **entry}
    assert server.bodies[-1]["model"] == asked
    assert loaded(server.url, model=adapter).body["model"] == asked


def test_a_server_without_signs_is_what_its_header_says(serve: Serve) -> None:
    server = serve()
    server.listing_headers = {"Server": "uvicorn"}
    assert benchmarked(server.url)["engine"] == "uvicorn"


def scales(*pairs: tuple[int, float]) -> list[dict[str, float]]:
    return [{"id": number, "scale": scale} for number, scale in pairs]


@pytest.mark.parametrize(
    ("variant", "options", "sent"),
    [
        (BASE, {}, scales((0, 0.0), (3, 0.0))),
        (BASE, {"adapter": "lora:3"}, scales((0, 0.0), (3, 0.0))),
        (FINETUNED, {"adapter": "lora:3"}, scales((0, 0.0), (3, 1.0))),
        (FINETUNED, {"adapter": "lora:3=0.25"}, scales((0, 0.0), (3, 0.25))),
        (BASE, {"base_body": {"lora": scales((0, 0.7))}}, scales((0, 0.7), (3, 0.0))),
        (BASE, {"base_body": {"lora": []}}, scales((0, 1.0), (3, 0.5))),
        (BASE, {"base_body": {"lora": None}}, None),
    ],
)
def test_every_question_names_the_scale_of_every_adapter(
    serve: Serve, variant: str, options: dict[str, Any], sent: Any
) -> None:
    server = serve()
    server.loras = LORAS
    benchmarked(server.url, variant, **options)
    assert server.bodies[0].get("lora") == sent


def test_users_and_probes_name_the_scales_that_the_server_was_started_with(serve: Serve) -> None:
    server = serve()
    server.loras = LORAS
    assert loaded(server.url).body["lora"] == scales((0, 1.0), (3, 0.5))
    assert all(body["lora"] == scales((0, 1.0), (3, 0.5)) for body in server.bodies)
    assert loaded(server.url, lora=scales((3, 1.0))).body["lora"] == scales((0, 0.0), (3, 1.0))
    with pytest.raises(ServerError, match=r"no LoRA adapter 1 is loaded, it has \[0, 3\]"):
        loaded(server.url, lora=scales((1, 1.0)))


def test_a_server_that_never_listed_its_models_is_back_when_it_answers_a_question(serve: Serve) -> None:
    server = serve(well(), well(), well(), refusing(502), well())
    server.status = 403

    async def watch() -> list[bool]:
        asked = ChatServer.at(server.url, body={"model": "mine"}, timeout_s=5.0)
        async with LoadTest(asked, Conversations(TALKS), processes=1) as load:
            return [await load.presence.answers(), await load.presence.returned(5.0)]

    assert asyncio.run(watch()) == [False, True]


def case(**changed: Any) -> Case:
    messages = ({"role": "user", "content": "monte le son"},)
    return Case("voice", "a", "monte le son", messages, **{"tools": (TOOL,), **changed})


def counting(with_tools: int, without: int) -> Behaviour:
    """Answers with a prompt's tokens, which may grow with tools."""

    async def behave(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
        body = server.bodies[-1]
        usage = {"prompt_tokens": with_tools if "tools" in body else without, "completion_tokens": 1}
        if not body.get("stream"):
            return await whole(choices=[{"message": {"content": "o"}}], usage=usage)(server, request)
        last = event({"choices": [], "usage": usage})
        return await streaming(*PIECES, last, DONE)(server, request)

    return behave


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Asks a server one case, and gives the server and the answer."""
    opened: list[Any] = []

    def asked(
        *behaviours: Behaviour, one: Case, pages: dict[str, Any] | None = None, **server: Any
    ) -> tuple[FakeChatServer, Completion]:
        fake = FakeChatServer(*behaviours)
        opened.append(fake)
        fake.pages = {path: (200, body, {}) for path, body in (pages or {}).items()}
        settings = Settings.model_validate({"generation": {"timeout": 5.0}, "server": {"url": fake.url, **server}})
        backend = ServerBackend(settings, tools=one.tools)
        opened.insert(0, backend)
        (completion,) = backend.complete([one], BASE)
        return fake, completion

    yield asked
    for one in opened:
        one.close()


def test_streamed_calls_are_put_together_and_the_request_carries_the_tools(ask: Ask) -> None:
    server, completion = ask(counting(40, 7), one=case(), tool_choice="required")
    assert completion.tool_calls == (CALLED, {"name": "louder", "arguments": {}})
    assert completion.tools_left_out is None
    assert server.bodies[-1]["tools"] == [TOOL]
    assert server.bodies[-1]["tool_choice"] == "required"
    assert [body["max_tokens"] for body in server.bodies[:-1]] == [1, 1]  # the two that ask whether tools arrive


def test_a_case_may_choose_its_tool_and_one_without_tools_says_nothing_of_them(ask: Ask) -> None:
    server, _ = ask(counting(40, 7), one=case(tool_choice="louder"), tool_choice="none")
    assert server.bodies[-1]["tool_choice"] == {"type": "function", "function": {"name": "louder"}}
    plain, completion = ask(well(), one=case(tools=()), tool_choice="required")
    assert len(plain.bodies) == 1
    assert not {"tools", "tool_choice"} & plain.bodies[0].keys()
    assert completion.tool_calls is None


def test_calls_that_a_server_leaves_in_the_text_are_read_there(ask: Ask) -> None:
    text = json.dumps({"name": "louder", "parameters": {"by": 2}})
    _, completion = ask(well(text), one=case(), pages={"/props": {"chat_template_caps": {"supports_tools": True}}})
    assert completion.tool_calls == (CALLED,)
    assert completion.text == text


def test_llama_cpps_page_tells_that_tools_are_dropped(ask: Ask) -> None:
    properties = {"chat_template_caps": {"supports_tools": False}}
    server, completion = ask(well("louder"), one=case(), pages={"/props": properties})
    assert "chat template knows no tools (/props)" in str(completion.tools_left_out)
    assert completion.tool_calls == ()
    assert len(server.bodies) == 1


def test_a_prompt_of_as_many_tokens_tells_it_of_any_other_server(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    _, completion = ask(counting(7, 7), one=case(), tool_choice="required")
    assert "as many tokens with tools as without" in str(completion.tools_left_out)
    assert not caplog.records


def test_a_server_that_counts_no_prompt_cannot_be_checked_and_that_is_said(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    answer = whole(choices=[{"message": {"content": "o"}, "finish_reason": "stop"}])
    _, completion = ask(answer, one=case(), stream=False)
    assert completion.tools_left_out is None
    assert any("that tools reach the model was not checked" in record.message for record in caplog.records)


def test_a_server_that_refuses_tools_is_an_error_of_each_case(ask: Ask) -> None:
    plain = whole(choices=[{"message": {"content": "o"}}], usage={"prompt_tokens": 7, "completion_tokens": 1})
    _, completion = ask(plain, refusing(400, "tool choice requires a parser"), one=case())
    assert completion.tools_left_out is None
    assert "requires a parser" in str(completion.error)


@pytest.mark.parametrize(
    "pieces",
    [
        [[("x", 0, "louder", '{"by": 2}')], [("y", 0, "softer", "{}")]],  # whole calls, all at the same place
        [[("", None, "louder", '{"by": 2}')], [("", None, "softer", None)]],  # no id, no place
        [[("x", 0, "louder", '{"by"')], [("x", 0, "louder", ": 2}")], [("y", 1, "softer", "{}")]],  # name repeated
        [[("x", 0, "lou", ""), ("y", 1, "softer", "")], [("", 0, "der", '{"by": 2}')]],  # name in pieces
    ],
)
def test_each_servers_pieces_become_two_calls(pieces: list[list[tuple[str, int | None, str, str | None]]]) -> None:
    calls = ToolCalls()
    for several in pieces:
        calls.add(
            [
                {
                    **({} if place is None else {"index": place}),
                    "id": told,
                    "function": {"name": name, "arguments": given},
                }
                for told, place, name, given in several
            ]
        )
    assert calls.calls == (CALLED, {"name": "softer", "arguments": {}})


def test_arguments_that_are_no_object_are_kept_as_text() -> None:
    calls = ToolCalls()
    calls.add(
        [{"function": {"name": "louder", "arguments": '{"by": '}}, {"function": {"name": "b", "arguments": {"c": 1}}}]
    )
    assert [call["arguments"] for call in calls.calls] == ['{"by": ', {"c": 1}]
