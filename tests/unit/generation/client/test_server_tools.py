"""Tools in requests, calls in answers, and servers that drop tools without a word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from support.fake_chat_server import DONE, Behaviour, FakeChatServer, delta, event, refusing, streaming, well, whole

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import as_openai
from pytest_llmbench.core.records import BASE, Completion
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.generation.client.backend import ServerBackend
from pytest_llmbench.generation.client.message_parts import ToolCalls

TOOL = as_openai({"name": "louder", "parameters": {"type": "object", "properties": {"by": {"type": "integer"}}}})
CALLED = {"name": "louder", "arguments": {"by": 2}}
PIECES = [
    delta(tool_calls=[{"index": 0, "id": "a", "function": {"name": "louder", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"by"'}}]),
    delta(tool_calls=[{"index": 1, "id": "b", "function": {"name": "louder", "arguments": "{}"}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": ": 2}"}}]),
    delta("tool_calls"),
]


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


Ask = Callable[..., tuple[FakeChatServer, Completion]]


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
