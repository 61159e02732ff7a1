"""The calls of an answer held against those that its case expects: what is right, and why what is not is not."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from pytest_llmbench.cases.suites import Case
from pytest_llmbench.cases.tools import as_openai, expected_calls
from pytest_llmbench.core.records import Completion
from pytest_llmbench.metrics.calls import call_accuracy, call_faults, call_reasons
from pytest_llmbench.metrics.text import Spelling

REFUND = as_openai(
    {
        "name": "refund",
        "parameters": {
            "type": "object",
            "properties": {
                "order": {"type": "string"},
                "amount": {"type": "number"},
                "reason": {"enum": ["broken", "late"]},
                "notify": {"type": "boolean", "default": True},
                "items": {"type": "array", "items": {"type": "integer"}},
                "to": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
            "required": ["order"],
        },
    }
)
TOOLS = (REFUND, as_openai({"name": "track", "parameters": {"type": "object", "properties": {"order": {}}}}))
LOOSE = Spelling()


def case(calls: Any) -> Case:
    messages = ({"role": "user", "content": "money back"},)
    return Case("shop", "a", "money back", messages, tools=TOOLS, calls=expected_calls(calls, TOOLS))


def answered(*calls: tuple[str, Any], text: str = "", left_out: str | None = None) -> Completion:
    made = tuple({"name": name, "arguments": arguments} for name, arguments in calls)
    return Completion("shop/a", 0, "base", text, "stop", tool_calls=made, tools_left_out=left_out)


def told(calls: Any, *made: tuple[str, Any]) -> list[str]:
    return [str(fault) for fault in call_faults(case(calls), answered(*made), LOOSE)]


ONE = [{"name": "refund", "arguments": {"order": "A-17", "amount": [12.5, 13], "reason": ["late", None]}}]
RIGHT = {"order": "A-17", "amount": 12.5}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (RIGHT, None),
        ({**RIGHT, "amount": 13.0}, None),
        ({**RIGHT, "order": "a-17"}, None),
        ({**RIGHT, "reason": "late"}, None),
        ({**RIGHT, "reason": None}, None),
        ({**RIGHT, "notify": True}, None),
        ({**RIGHT, "notify": False}, "unexpected argument refund.notify: False"),
        ({**RIGHT, "colour": "red"}, "unexpected argument refund.colour: 'red'"),
        ({"amount": 13}, "missing argument refund.order, expected 'A-17'"),
        ({**RIGHT, "order": "A-18"}, "wrong value refund.order: 'A-18', expected 'A-17'"),
        ({**RIGHT, "order": 17}, "wrong type refund.order: 17, expected 'A-17'"),
        ({**RIGHT, "amount": "12.5"}, "wrong type refund.amount: '12.5', expected 12.5 or 13"),
        ({**RIGHT, "amount": True}, "wrong type refund.amount: True, expected 12.5 or 13"),
        ({**RIGHT, "reason": "Late"}, "wrong value refund.reason: 'Late', expected 'late'"),
        ('{"order": ', "unreadable call refund: '{\"order\": '"),
    ],
)
def test_one_call_is_judged_argument_by_argument(arguments: Any, fault: str | None) -> None:
    assert told(ONE, ("refund", arguments)) == ([fault] if fault else [])


@pytest.mark.parametrize(
    ("given", "made", "right"),
    [
        ({"items": [[1, 2]]}, {"items": [1, 2]}, True),
        ({"items": [[1, 2]]}, {"items": [2, 1]}, False),
        ({"items": [[1, 2], []]}, {"items": []}, True),
        ({"items": [[1, 2]]}, {"items": ["1", "2"]}, False),
        ({"to": {"city": "Lyon"}}, {"to": {"city": "LYON"}}, True),
        ({"to": {"city": "Lyon"}}, {"to": {"city": "Lyon", "zip": 1}}, False),
        ({"notify": [True]}, {}, True),  # it is the default
        ({"notify": None}, {"notify": True}, True),  # may be left out, so may be its default
        ({"notify": None}, {"notify": False}, False),
        ({"notify": [False]}, {}, False),
        ({"notify": [True]}, {"notify": 1}, False),
    ],
)
def test_lists_objects_and_defaults(given: dict[str, Any], made: dict[str, Any], right: bool) -> None:  # noqa: FBT001
    expected = [{"name": "refund", "arguments": {"order": "1", **given}}]
    assert (told(expected, ("refund", {"order": "1", **made})) == []) is right


@pytest.mark.parametrize(
    ("schema", "allowed", "made", "right"),
    [
        ({"type": "number", "default": 20}, None, {"n": 20.0}, True),
        ({"type": "string", "default": "Celsius"}, None, {"n": "celsius"}, True),
        ({"type": "string", "default": "Celsius"}, ["celsius"], {}, True),
        ({"type": "string", "enum": ["celsius", "Celsius"], "default": "Celsius"}, ["celsius"], {}, False),
        ({"anyOf": [{"enum": ["celsius"]}, {"type": "null"}], "default": "celsius"}, None, {"n": "Celsius"}, False),
        ({"type": "boolean", "default": True}, None, {"n": 1}, False),
    ],
)
def test_a_default_is_compared_as_values_are(
    schema: dict[str, Any],
    allowed: list[str] | None,
    made: dict[str, Any],
    right: bool,  # noqa: FBT001
) -> None:
    tools = (as_openai({"name": "look", "parameters": {"type": "object", "properties": {"n": schema}}}),)
    calls = [{"name": "look", "arguments": {} if allowed is None else {"n": allowed}}]
    messages = ({"role": "user", "content": "look"},)
    asked = Case("shop", "a", "look", messages, tools=tools, calls=expected_calls(calls, tools))
    assert (call_faults(asked, answered(("look", made)), LOOSE) == []) is right


def test_definitions_and_unions_as_pydantic_writes_them() -> None:
    place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    properties = {"to": {"$ref": "#/$defs/Place"}, "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}
    ship = as_openai({"name": "ship", "parameters": {"properties": properties, "$defs": {"Place": place}}})
    calls = expected_calls([{"name": "ship", "arguments": {"to": {"city": "Lyon"}, "days": [2, None]}}], [ship])
    asked = dataclasses.replace(case([]), tools=(ship,), calls=calls)

    def reasons(**arguments: Any) -> list[str]:
        return [fault.reason for fault in call_faults(asked, answered(("ship", arguments)), LOOSE)]

    assert reasons(to={"city": "lyon"}, days=2) == reasons(to={"city": "Lyon"}, days=None) == []
    assert reasons(to={"city": 5}, days="2") == ["wrong type", "wrong type"]
    assert reasons(to={}, days=3) == ["wrong value", "wrong value"]


def test_a_call_of_a_tool_without_a_schema_is_typed_by_what_is_allowed() -> None:
    expected = [{"name": "track", "arguments": {"order": [1, 2]}}]
    assert told(expected, ("track", {"order": "1"})) == ["wrong type track.order: '1', expected 1 or 2"]
    assert told(expected, ("track", {"order": 2.0})) == []


@pytest.mark.parametrize(
    ("expected", "made", "faults"),
    [
        ([], [], []),
        ([], [("refund", {"order": "1"})], ["extra call refund"]),
        ([], [("refund", '{"ord')], ["unreadable call refund: '{\"ord'"]),
        ("any", [("track", {})], []),
        ("any", [], ["missing call"]),
        ("any", [("track", "{")], ["missing call"]),
        (ONE, [], ["missing call refund"]),
        (ONE, [("track", {})], ["wrong tool track, expected 'refund'"]),
        (ONE, [("invented", {})], ["unknown tool invented, expected 'refund'"]),
        (ONE, [("refund", RIGHT), ("refund", RIGHT)], ["extra call refund"]),
        (ONE, [("track", {}), ("refund", RIGHT)], ["extra call track"]),
    ],
)
def test_the_calls_of_an_answer_are_judged_together(expected: Any, made: list[Any], faults: list[str]) -> None:
    assert told(expected, *made) == faults


def test_parallel_calls_may_come_in_any_order_and_none_takes_anothers_place() -> None:
    expected = [
        {"name": "track", "arguments": {"order": ["1", "2"]}},
        {"name": "track", "arguments": {"order": "1"}},
        {"name": "refund", "arguments": {"order": "3"}},
    ]
    made = [("track", {"order": "1"}), ("track", {"order": "2"}), ("refund", {"order": "3"})]
    assert all(told(expected, *order) == [] for order in itertools.permutations(made))
    assert told(expected, made[0], made[2], made[2]) == ["wrong tool refund, expected 'track'"]


def test_an_answer_whose_tools_were_left_out_is_unscored_with_that_reason() -> None:
    lost = answered(left_out="the template writes no tools")
    assert call_accuracy(LOOSE)(case([]), lost) is None
    (reason,) = call_reasons(LOOSE)(case([]), lost)
    assert reason == {"reason": "tools left out", "found": "the template writes no tools"}


def test_calls_are_read_from_the_text_where_nobody_has_read_them() -> None:
    text = '<tool_call>{"name": "refund", "arguments": {"order": "A-17", "amount": 13}}</tool_call>'
    assert call_accuracy(LOOSE)(case(ONE), Completion("shop/a", 0, "base", text, "stop")) is True


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[refund(order='A-17', amount=13)]", []),
        ('Of course: {"name": "refund", "arguments": {"order": "A-17", "amount": 13}} Done.', []),
        ("track(order='A-17')", ["wrong tool"]),
        ("sorry(order='A-17')", ["missing call"]),
    ],
)
def test_a_model_that_is_given_no_tools_calls_those_of_the_case_and_the_vocabulary(
    text: str, faults: list[str]
) -> None:
    bare = dataclasses.replace(case(None), tools=(), calls=expected_calls(ONE, ()))
    found = call_faults(bare, Completion("shop/a", 0, "base", text, "stop"), LOOSE, ["track"])
    assert [fault.reason for fault in found] == faults


def test_a_case_that_expects_nothing_in_particular_is_unscored() -> None:
    assert call_accuracy(LOOSE)(case(None), answered(("refund", {}))) is None
    assert call_reasons(LOOSE)(case(None), answered(("refund", {}))) == []
