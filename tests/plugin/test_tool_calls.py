"""A suite with tools against a server that streams calls: scores, reasons in failures and in the run's file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiohttp import web
from support.fake_chat_server import DONE, FakeChatServer, chunk, delta, event, started, whole
from support.plugin_project import Project

TOOLS = """\
tools:
  refund:
    terms: [refund]
    description: Money back.
    parameters: {type: object, properties: {order: {type: string}}, required: [order]}
"""
SUITE = """\
category: shop
cases:
  - {id: right, prompt: money back for A, tool: refund, calls: [{name: refund, arguments: {order: A}}]}
  - id: wrong
    prompt: money back for B
    calls: [{name: refund, arguments: {order: [C, D]}}]
    expect: {calls: true}
  - {id: hello, prompt: hello, calls: []}
"""


async def answer(server: FakeChatServer, request: web.Request) -> web.StreamResponse:
    """Calls `refund` for whoever wants money back, in pieces."""
    body = server.bodies[-1]
    usage = {"prompt_tokens": 50 if "tools" in body else 5, "completion_tokens": 3}
    if not body.get("stream"):
        return await whole(choices=[{"message": {"content": "o"}}], usage=usage)(server, request)
    response = await started(request)
    order = body["messages"][-1]["content"][-1]
    if order in "AB":
        await response.write(delta(tool_calls=[{"index": 0, "id": "x", "function": {"name": "refund"}}]))
        await response.write(delta(tool_calls=[{"index": 0, "function": {"arguments": '{"order": '}}]))
        await response.write(delta(tool_calls=[{"index": 0, "function": {"arguments": f'"{order}"}}'}}]))
    else:
        await response.write(chunk("Hello!"))
    await response.write(chunk(finish="stop") + event({"choices": [], "usage": usage}) + DONE)
    return response


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    fake = FakeChatServer(answer)
    yield fake
    fake.close()


def test_calls_are_scored_and_what_is_wrong_is_told(project: Project, server: FakeChatServer) -> None:
    (project.path / "conftest.py").unlink()  # the real server, not the parrot
    project.write("prompts/tools.yaml", TOOLS)
    project.write("prompts/shop.yaml", SUITE)
    result = project.run("--llmbench-server", server.url, "--llmbench-prompts", "prompts/shop.yaml")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E  *shop/wrong: call_accuracy of base is 0, expected at least 1",
            'E  *calls expected: [[]{"name": "refund", "arguments": {"order": [[]"C", "D"[]]}}[]]',
            'E  *calls: [[]{"name": "refund", "arguments": {"order": "B"}}[]]',
            "E  *call_accuracy: wrong value refund.order: 'B', expected 'C' or 'D'",
        ]
    )
    right, wrong, hello = project.report()["results"]
    assert [row["scores"]["call_accuracy"]["base"] for row in (right, wrong, hello)] == [1, 0, 1]
    assert right["scores"]["tool_accuracy"]["base"] == 1
    assert right["reasons"] == hello["reasons"] == {}
    assert wrong["reasons"]["call_accuracy"]["base"] == [
        {"reason": "wrong value", "tool": "refund", "argument": "order", "expected": ["C", "D"], "found": "B"}
    ]
    assert wrong["calls"] == [{"name": "refund", "arguments": {"order": ["C", "D"]}}]
    assert wrong["completions"]["base"]["tool_calls"] == [{"name": "refund", "arguments": {"order": "B"}}]
    assert hello["completions"]["base"]["tool_calls"] == []
    before = len(server.bodies)
    again = project.run("--llmbench-server", server.url, "--llmbench-prompts", "prompts/shop.yaml")
    again.assert_outcomes(passed=2, failed=1)
    assert len(server.bodies) == before + 2  # the tools are looked for again, the answers are remembered


def test_a_server_that_drops_tools_leaves_their_cases_unscored(project: Project, server: FakeChatServer) -> None:
    (project.path / "conftest.py").unlink()
    server.pages["/props"] = (200, {"chat_template_caps": {"supports_tools": False}}, {})
    project.write("prompts/tools.yaml", TOOLS)
    project.write("prompts/shop.yaml", SUITE.replace("    expect: {calls: true}\n", ""))
    result = project.run("--llmbench-server", server.url, "--llmbench-prompts", "prompts/shop.yaml")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*base: 3 cases with tools are unscored in their calls: *knows no tools (/props)*"])
    rows = project.report()["results"]
    assert [row["scores"]["call_accuracy"]["base"] for row in rows] == [None] * 3
    assert all(row["reasons"]["call_accuracy"]["base"][0]["reason"] == "tools left out" for row in rows)
