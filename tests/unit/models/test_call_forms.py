"""Tool calls are read in every form that models write, and prose is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmbench.cases.tools import as_openai
from pytest_llmbench.models.call_forms import read_calls

TOOLS = [
    as_openai(
        {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "units": {"type": "array"},
                    "sun": {"type": "boolean"},
                },
            },
        }
    ),
    as_openai({"name": "refund"}),
]
PARIS = {"name": "get_weather", "arguments": {"city": "Paris"}}
BACK = {"name": "refund", "arguments": {}}
JSON = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
QWEN_CODER = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n"
    "</parameter>\n</function>\n</tool_call>"
)
GLM = (
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n<arg_key>units</arg_key>\n"
    '<arg_value>["C"]</arg_value>\n<arg_key>sun</arg_key><arg_value>True</arg_value></tool_call>'
)
DEEPSEEK = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
    '{"city": "Paris"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    '{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>functions.refund:1<|tool_call_argument_begin|>{}'
    "<|tool_call_end|><|tool_calls_section_end|>"
)
GEMMA = (
    '<|tool_call>call:get_weather{city:<|"|>L\'île: {x}, [y]<|"|>,days:3,place:{at:[1.5,null],ok:true}}<tool_call|>'
    "<|tool_call>call:refund{}<tool_call|>"
)
INVOKED = '<{0}invoke name="get_weather">\n<{0}parameter name="city"{1}>Paris</{0}parameter>\n</{0}invoke>\n'
LLAMA = '{"name": "get_weather", "parameters": {"city": "Paris"}}'


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (f"<tool_call>\n{JSON}\n</tool_call>", [PARIS]),
        (f'I look.\n<tool_call>{JSON}</tool_call>\n<tool_call>{{"name": "refund", "arguments": {{}}}}', [PARIS, BACK]),
        (
            QWEN_CODER,
            [{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}],
        ),
        (
            GLM,
            [{"name": "get_weather", "arguments": {"city": "12", "units": ["C"], "sun": True}}],
        ),
        (LLAMA, [PARIS]),
        (f'<|python_tag|>{LLAMA}; {{"name": "refund", "parameters": {{}}}}<|eom_id|>', [PARIS, BACK]),
        ('<|python_tag|>get_weather(city="Paris")', [PARIS]),
        (f"[TOOL_CALLS] [{JSON}]", [PARIS]),
        ('[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]refund[CALL_ID]a1[ARGS]{}', [PARIS, BACK]),
        ('[TOOL_CALLS]get_weather{"city": "Paris"}', [PARIS]),
        (f"[{JSON}]", [PARIS]),
        (f"```json\n{JSON}\n```", [PARIS]),
        (f"{JSON}\n{JSON}", [PARIS, PARIS]),
        (f"Sure, I call {JSON} now.", [PARIS]),
        ('<function=get_weather>{"city": "Paris"}</function>', [PARIS]),
        (
            '{"type": "function", "function": {"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}}',
            [PARIS],
        ),
        (
            DEEPSEEK,
            [PARIS],
        ),
        (KIMI, [PARIS, BACK]),
        (
            GEMMA,
            [
                {
                    "name": "get_weather",
                    "arguments": {"city": "L'île: {x}, [y]", "days": 3, "place": {"at": [1.5, None], "ok": True}},
                },
                BACK,
            ],
        ),
        ("<minimax:tool_call>\n" + INVOKED.format("", "") + "</minimax:tool_call>", [PARIS]),
        (
            "<｜DSML｜function_calls>\n" + INVOKED.format("｜DSML｜", ' string="true"') + "</｜DSML｜function_calls>",
            [PARIS],
        ),
        (INVOKED.format("atem:", "") + '<atem:invoke name="refund">\n</atem:invoke>', [PARIS, BACK]),
        ('<function_calls>\nget_weather(city="Paris")\nrefund()\n</function_calls>', [PARIS, BACK]),
        (
            '<|tool_call_start|>[get_weather(sun=true, place={"at": null})]<|tool_call_end|>',
            [{"name": "get_weather", "arguments": {"sun": True, "place": {"at": None}}}],
        ),
        ('<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}<｜tool▁call▁end｜>', [PARIS]),
        ('[get_weather(city="Paris"), refund()]', [PARIS, BACK]),
        ('<|tool_call_start|>[get_weather(city="Paris")]<|tool_call_end|>', [PARIS]),
        (f"<|tool_call|>[{JSON}]<|end_of_text|>", [PARIS]),
        ('<|START_ACTION|>[{"tool_name": "get_weather", "parameters": {"city": "Paris"}}]<|END_ACTION|>', [PARIS]),
        ('commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"}<|call|>', [PARIS]),
        ('functions.get_weather {"city": "Paris"}', [PARIS]),
        ('{"name": "invented", "arguments": {}}', [{"name": "invented", "arguments": {}}]),
    ],
)
def test_calls_are_read_in_every_form(text: str, calls: list[dict[str, Any]]) -> None:
    assert list(read_calls(text, TOOLS)) == calls


@pytest.mark.parametrize(
    "marks",
    [
        "<|tool_call_begin|>functions.run:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>run\n{}<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>run\n```json\n{}\n```<｜tool▁call▁end｜>",
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>run\n```\n{}\n```",
    ],
)
def test_fences_within_arguments_stay(marks: str) -> None:
    told = marks.format(json.dumps({"code": "```json\nx = 1\n```"}))
    assert read_calls(told) == ({"name": "run", "arguments": {"code": "```json\nx = 1\n```"}},)


@pytest.mark.parametrize(
    ("value", "read"),
    [("  indented\n", "  indented"), ("\n  a\n\n  b\n", "  a\n\n  b"), ("Paris", "Paris"), ("\n\na", "\na")],
)
def test_a_text_in_invoked_tags_keeps_its_white_space(value: str, read: str) -> None:
    told = f'<invoke name="get_weather"><parameter name="city">{value}</parameter></invoke>'
    assert read_calls(told, TOOLS) == ({"name": "get_weather", "arguments": {"city": read}},)
    days = '<invoke name="get_weather"><parameter name="days">\n  3\n  </parameter></invoke>'
    assert read_calls(days, TOOLS) == ({"name": "get_weather", "arguments": {"days": 3}},)


def test_a_text_that_a_line_break_cuts_is_no_other_text() -> None:
    body = 'get_weather(city="Par\nis")\nrefund()'
    (call,) = read_calls(f"<function_calls>\n{body}\n</function_calls>", TOOLS)
    assert call == {"name": "", "arguments": body}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I will send you a refund.",
        "The weather is [1, 2] {3}.",
        '{"answer": 4}',
        '{"name": "Bob", "age": 3}',
        "print(1)",
        "refund(the money)",
        "get_weather is a tool",
        "```json\n[1, 2]\n```",
        "{" * 3000,
    ],
)
def test_what_only_looks_like_one_is_no_call(text: str) -> None:
    assert read_calls(text, TOOLS) == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('<tool_call>{"name": "get_weather", "arguments": {"city": "Pa', "get_weather"),
        ('{"name": "get_weather", "arguments": {"city": "Pa', "get_weather"),
        ("<tool_call>{'name': 'get_weather'}</tool_call>", ""),
        ('[TOOL_CALLS]get_weather[ARGS]{"city": ', "get_weather"),
        ('<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>', "get_weather"),
        ("<function=get_weather>city: Paris</function>", "get_weather"),
        ('<|tool_call>call:get_weather{city:<|"|>Pa', "get_weather"),
        ('<invoke name="get_weather">city: Paris</invoke>', "get_weather"),
    ],
)
def test_a_call_that_cannot_be_read_is_kept_with_its_text(text: str, name: str) -> None:
    (call,) = read_calls(text, TOOLS)
    assert call["name"] == name
    assert isinstance(call["arguments"], str)
    assert call["arguments"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (r'"hi \ud83d"', "hi \ufffd"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'[{"\udc00": "a"}]', [{"\ufffd": "a"}]),
        ("NaN", "NaN"),
        ("-1e999", "-Infinity"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "<tool_call>{}</tool_call>", "[TOOL_CALLS][{}]", "<|python_tag|>{}"])
def test_arguments_can_be_written_whatever_a_model_escapes(form: str, value: str, kept: object) -> None:
    told = form.format(f'{{"name": "say", "arguments": {{"text": {value}}}}}')
    (call,) = read_calls(told, [as_openai({"name": "say"})])
    assert call == {"name": "say", "arguments": {"text": kept}}
    json.dumps(call, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "17", 17),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "many", "many"),
        ({"type": ["string", "null"]}, "17", "17"),
        ({"type": ["string", "null"]}, "null", "null"),
        ({"type": ["integer", "null"]}, "null", None),
        ({"type": ["boolean", "null"]}, "True", True),
        ({"enum": [1, 2, "3"]}, "2", 2),
        ({"enum": [1, 2, "3"]}, "3", "3"),
        ({"$ref": "#/$defs/days"}, "3", 3),
        ({"type": "integer"}, "3.5", 3.5),
        ({"type": "string", "minLength": 3}, "17", "17"),
        ({"type": "float"}, "1.5", 1.5),
        ({}, "17", "17"),
        (True, "17", "17"),
    ],
)
def test_a_value_in_tags_is_what_the_schema_lets_it_be(schema: Any, text: str, value: Any) -> None:
    parameters = {"type": "object", "properties": {"x": schema}, "$defs": {"days": {"type": "integer"}}}
    answer = f"<tool_call><function=plan><parameter=x>\n{text}\n</parameter></function></tool_call>"
    (call,) = read_calls(answer, [as_openai({"name": "plan", "parameters": parameters})])
    assert call["arguments"] == {"x": value}
    assert type(call["arguments"]["x"]) is type(value)
