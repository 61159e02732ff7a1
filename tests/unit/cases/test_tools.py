"""Tools, tool choices and expected calls in suites and vocabularies: what is read, and what is refused."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pytest_llmbench.cases.suites import Case, Vocabulary, load_cases, load_vocabulary
from pytest_llmbench.cases.tools import name_of, parameters_of
from pytest_llmbench.core.errors import UsageError

SCHEMA = json.loads((files("pytest_llmbench") / "schemas/suite.schema.json").read_text(encoding="utf-8"))
VOCABULARY = """\
language: en
tools:
  greet: [hello, welcome]
  refund:
    terms: [refund, money]
    description: Money back.
    parameters:
      type: object
      properties: {order: {type: string}, amount: {type: number}, tags: {type: array, items: {type: string}}}
      required: [order]
  track: {description: Where an order is.}
"""
SUITE = """\
category: shop
tool_choice: auto
cases:
  - id: own
    prompt: p
    tools: [refund, {name: lookup, description: d}, {type: function, function: {name: other}}]
    tool: lookup
    tool_choice: lookup
    calls:
      - {name: refund, arguments: {order: [A, B], amount: 3, tags: [[x, y], null]}}
      - {name: lookup}
  - {id: vocabulary, prompt: p, tool: greet, calls: []}
  - {id: none, prompt: p, tools: [], calls: any}
"""


def vocabulary(folder: Path, text: str = VOCABULARY) -> Vocabulary:
    path = folder / "tools.yaml"
    path.write_text(text, encoding="utf-8")
    return load_vocabulary(path)


def load(folder: Path, suite: str = SUITE, words: str = VOCABULARY) -> list[Case]:
    path = folder / "shop.yaml"
    path.write_text(suite, encoding="utf-8")
    return load_cases([path], vocabulary(folder, words))


def test_a_vocabulary_carries_schemas_beside_terms(tmp_path: Path) -> None:
    words = vocabulary(tmp_path)
    assert words.tools == {"greet": ("hello", "welcome"), "refund": ("refund", "money"), "track": ()}
    assert [name_of(tool) for tool in words.schemas] == ["refund", "track"]
    assert parameters_of(words.schemas[1]) == {"type": "object", "properties": {}}
    listed = vocabulary(tmp_path, "tools: [{type: function, function: {name: a, description: d}}, {name: b}]")
    assert (listed.tools, [name_of(tool) for tool in listed.schemas]) == ({"a": (), "b": ()}, ["a", "b"])


def test_a_case_has_its_own_tools_or_the_vocabularys(tmp_path: Path) -> None:
    own, shared, none = load(tmp_path)
    assert [[name_of(tool) for tool in case.tools] for case in (own, shared, none)] == [
        ["refund", "lookup", "other"],
        ["refund", "track"],
        [],
    ]
    assert (own.tool_choice, shared.tool_choice) == ("lookup", "auto")
    assert own.calls is not None
    refund, lookup = own.calls.calls
    assert refund.arguments == {"order": ["A", "B"], "amount": [3], "tags": [["x", "y"]]}
    assert refund.optional == frozenset({"tags"})
    assert refund.parameters == parameters_of(own.tools[0])
    assert lookup.arguments == {}
    assert shared.calls is not None
    assert none.calls is not None
    assert (own.calls.to_json(), shared.calls.to_json(), none.calls.to_json()) == (
        [
            {"name": "refund", "arguments": {"order": ["A", "B"], "amount": [3], "tags": [["x", "y"], None]}},
            {"name": "lookup", "arguments": {}},
        ],
        [],
        "any",
    )
    assert len({own, shared, none}) == 3
    jsonschema.validate(yaml.safe_load(SUITE), SCHEMA)


def test_rows_of_tables_carry_them_too(tmp_path: Path) -> None:
    row = {
        "prompt": "p",
        "tools": [{"name": "a"}],
        "calls": [{"name": "a", "arguments": {}}],
        "tool_choice": "required",
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
    quoted = '"[{""name"": ""a""}]"'
    (tmp_path / "cells.csv").write_text(f"prompt,tools,calls\np,{quoted},{quoted}\n", encoding="utf-8")
    for name in ("rows.jsonl", "cells.csv"):
        (case,) = load_cases([tmp_path / name])
        assert [name_of(tool) for tool in case.tools] == ["a"]
        assert case.calls is not None
        assert case.calls.to_json() == [{"name": "a", "arguments": {}}]


@pytest.mark.parametrize("name", ["rows.jsonl", "cells.csv"])
def test_a_null_that_says_something_is_kept_in_tables(tmp_path: Path, name: str) -> None:
    properties = {"amount": {"type": ["number", "null"], "default": None, "title": None}, "to": {"const": None}}
    tools = [{"name": "a", "description": None, "parameters": {"properties": {**properties, "other": None}}}]
    calls = [{"name": "a", "arguments": {"amount": None, "to": None}}, {"name": "a", "arguments": None}]
    texts = [json.dumps(tools), json.dumps(calls)]
    cells = ",".join('"' + text.replace('"', '""') + '"' for text in texts)
    (tmp_path / "rows.jsonl").write_text(f'{{"prompt": "p", "tools": {texts[0]}, "calls": {texts[1]}}}')
    (tmp_path / "cells.csv").write_text(f"prompt,tools,calls\np,{cells}\n")
    (case,) = load_cases([tmp_path / name])
    assert parameters_of(case.tools[0])["properties"] == {
        "amount": {"type": ["number", "null"], "default": None},
        "to": {"const": None},
    }
    assert case.calls is not None
    assert case.calls.to_json()[0] == {"name": "a", "arguments": {"amount": [None], "to": [None]}}


def test_nulls_that_arrow_pads_expected_calls_with_are_left_out(tmp_path: Path) -> None:
    to = {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string"}}}
    tools = [
        {"name": "a", "parameters": {"properties": {"to": to, "amount": {"type": "number"}}}},
        {"name": "b", "parameters": {"properties": {"order": {"type": "string"}}}},
    ]
    calls = [
        {"name": "a", "arguments": {"to": {"city": "Ulm", "zip": None}, "amount": None, "order": None}},
        {"name": "b", "arguments": {"to": None, "amount": None, "order": "17"}},
    ]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "p", "tools": tools, "calls": calls}))
    (case,) = load_cases([tmp_path / "rows.jsonl"])
    assert case.calls is not None
    assert case.calls.to_json() == [
        {"name": "a", "arguments": {"to": [{"city": "Ulm"}], "amount": [None]}},
        {"name": "b", "arguments": {"order": ["17"]}},
    ]


CASE = "category: a\ncases:\n  - id: x\n    prompt: p\n    "


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tools: refund", "5: tools: must be a list of tools"),
        ("tools: [refnd]", "5: tools: 'refnd' is no tool of the vocabulary; did you mean 'refund'?"),
        ("tools: [{nam: a}]", "5: tools: tool 1: unknown key 'nam'; did you mean 'name'?"),
        ("tools: [{name: à}]", "5: tools: tool 1: a tool's name has letters"),
        ("tools: [{name: a}, {name: a}]", "5: tools: tool 2: the name 'a' is already taken"),
        ("tools: [{name: a, parameters: {type: dict}}]", "5: tools: tool 1: parameters: must be a JSON schema of an"),
        (
            "tools: [{name: a, parameters: {properties: {b: {type: float}}}}]",
            "5: tools: tool 1: parameters: not a JSON",
        ),
        ("tools: [{name: a, parameters: {required: [b]}}]", "5: tools: tool 1: parameters: requires 'b'"),
        (
            "tools: [{name: a, parameters: {properties: {b: {$ref: '#/$defs/c'}}}}]",
            "5: tools: tool 1: parameters: refers to '#/$defs/c', which it does not hold under $defs",
        ),
        (
            "tools: [{name: a, parameters: {properties: {b: {type: string}, c: {$ref: '#/properties/b'}}}}]",
            "5: tools: tool 1: parameters: refers to '#/properties/b', which it does not hold under $defs",
        ),
        ("tools: [{type: tool, function: {name: a}}]", "5: tools: tool 1: must be {type: function"),
        ("tool_choice: always", "5: tool_choice: 'always' is unknown; choose from auto, required, none, refund, track"),
        ("tool_choice: [a]", "5: tool_choice: must be one of auto"),
        ("calls: refund", "5: calls: must be a list of calls"),
        ("calls: [refund]", "5: calls: call 1 needs the 'name'"),
        ("calls: [{name: refund, args: {}}]", "5: calls: call 1: unknown key 'args'; did you mean 'arguments'?"),
        ("calls: [{name: refnd}]", "5: calls: call 1: 'refnd' is no tool of this case; did you mean 'refund'?"),
        (
            "tools: []\n    calls: [{name: refnd}]",
            "6: calls: call 1: 'refnd' is no tool of the case or the vocabulary; did you mean 'refund'?",
        ),
        (
            "calls: [{name: refund, arguments: {order: a, amont: 1}}]",
            "5: calls: call 1, refund: the tool has no argument",
        ),
        ("calls: [{name: refund, arguments: {order: 17}}]", "5: calls: call 1, refund: order: 17 is not of type"),
        ("calls: [{name: refund}]", "5: calls: call 1, refund: the tool requires the argument 'order'"),
        (
            "calls: [{name: refund, arguments: {order: a, tags: [x]}}]",
            "5: calls: call 1, refund: tags: a list here holds",
        ),
        (
            "calls: [{name: refund, arguments: {order: a, tags: []}}]",
            "5: calls: call 1, refund: tags: no value is allowed; write [[]] for the empty array",
        ),
        (
            "tools: []\n    calls: [{name: refund, arguments: {tags: []}}]",
            "6: calls: call 1, refund: tags: no value is allowed; write [[]] for the empty array",
        ),
    ],
)
def test_what_no_answer_could_reach_is_refused_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, CASE + line)
    (fault,) = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert fault.startswith(f"shop.yaml:{told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("tools: {a: {term: [b]}}", "tool 'a': unknown key 'term'"),
        ("tools: {a: {}}", "tool 'a': needs terms, or a description and parameters"),
        ("tools: {a: {terms: b}}", "tool 'a': terms: must be a list of texts"),
        ("tools: {a: {parameters: {type: dict}}}", "tool 'a': parameters: must be a JSON schema"),
        ("tools: [a]", "tools: must be a list of tools"),
        ("tools: [{name: a}, {name: a}]", "tools: tool 2: the name 'a' is already taken"),
    ],
)
def test_faults_of_a_vocabularys_tools(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        vocabulary(tmp_path, text)
    assert told in str(caught.value)


def test_a_suite_with_faults_in_its_heading_tells_them_once(tmp_path: Path) -> None:
    suite: dict[str, Any] = {"category": "a", "tools": [{"name": "a b"}], "cases": [{"id": 1, "prompt": "p"}]}
    with pytest.raises(UsageError) as caught:
        load(tmp_path, yaml.safe_dump(suite))
    (fault,) = str(caught.value).splitlines()
    assert "tools: tool 1: a tool's name" in fault
