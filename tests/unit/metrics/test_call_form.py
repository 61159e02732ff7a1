"""What in an answer names its tool: an ordinary word in prose does not, unless that is asked for."""

from __future__ import annotations

import pytest

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import as_openai
from pytest_llmbench.core.records import Completion
from pytest_llmbench.metrics.routing import Route, tool_finder

TOOLS = ("refund", "open", "track_order", "getWeather", "check-in")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("I will send you a refund.", None),
        ("We open at nine; check-in is at ten.", None),
        ("Your refund(s) will come.", None),
        ("See [refund](https://example.com/refund).", None),
        ("Refund: we will see to it.", None),
        ("I will track_order for you.", "track_order"),
        ("I use getWeather.", "getWeather"),
        ("Gladly. [refund]", "refund"),
        ("I use `refund` for that.", "refund"),
        ('{"tool": "refund"}', "refund"),
        ('<tool_call>{"name": "open", "arguments": {}}</tool_call>', "open"),
        ("refund(order=17)", "refund"),
        ("refund", "refund"),
        ("- refund.", "refund"),
        ("Thought: angry\nAction: refund\n", "refund"),
        ("**check-in**", "check-in"),
        ("A refund? [open] then track\\_order", "open"),
    ],
)
def test_prose_with_an_ordinary_word_calls_nothing(text: str, named: str | None) -> None:
    assert tool_finder(TOOLS)(text) == named


@pytest.mark.parametrize(
    ("form", "text", "named"),
    [
        ("mention", "I will send you a refund.", "refund"),
        ("bracket", "track_order or [refund]", "refund"),
        ("bracket", '{"tool": "refund"}', None),
        ("json", '[refund] {"action": "open"}', "open"),
        ("tool_calls", "track_order", None),
        ("tool_calls", '{"name": "track_order", "parameters": {}}', "track_order"),
        ("tool_calls", "[track_order(order='A')]", "track_order"),
        ("tool_calls", 'Surely: {"name": "refund", "arguments": {}}, I think.', "refund"),
        ("tool_calls", "[other(order='A')]", None),
        (r"(?:DO|CALL) (\w+)", "refund? DO open", "open"),
        (r"(?:DO|CALL) (\w+)", "DO nothing", None),
    ],
)
def test_the_form_can_be_set(form: str, text: str, named: str | None) -> None:
    assert tool_finder(TOOLS, form)(text) == named


def case(tool: str) -> Case:
    tools = (as_openai({"name": "refund"}), as_openai({"name": "own"}))
    return Case("a", "b", "p", ({"role": "user", "content": "p"},), tool=tool, tools=tools)


def called(*names: str, text: str = "") -> Completion:
    calls = tuple({"name": name, "arguments": {}} for name in names)
    return Completion("a/b", 0, "base", text, "stop", tool_calls=calls)


def test_where_tools_were_given_the_first_call_is_the_route() -> None:
    route = Route(["refund"])
    assert route.accuracy(case("own"), called("own", "refund")) is True
    assert route.accuracy(case("own"), called(text="[own]")) is False
    assert route.reasons(case("own"), called("refund")) == [
        {"reason": "wrong tool", "tool": "refund", "expected": "own"}
    ]
    assert route.reasons(case("own"), called("x")) == [{"reason": "unknown tool", "tool": "x", "expected": "own"}]
    assert route.reasons(case("own"), called(text="some_name")) == [{"reason": "no tool named", "expected": "own"}]
    assert Route(["refund"], "bracket").accuracy(case("own"), called("refund", text="[own]")) is True


def test_a_route_whose_tools_were_left_out_is_unscored() -> None:
    lost = Completion("a/b", 0, "base", "refund", "stop", tools_left_out="no tools there")
    assert Route(["refund"]).accuracy(case("refund"), lost) is None
    assert Route(["refund"]).reasons(case("refund"), lost) == [{"reason": "tools left out", "found": "no tools there"}]
    assert Route(["refund"], "mention").accuracy(case("refund"), lost) is True
