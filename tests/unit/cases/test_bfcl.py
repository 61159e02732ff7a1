"""BFCL's files are suites: its questions, its tools in the form that models are given, its right calls and rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.cases.suites import Case, load_cases
from pytest_llmbench.cases.tools import parameters_of
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.metrics.bfcl_calls import java_value, javascript_value
from pytest_llmbench.metrics.calls import call_faults
from pytest_llmbench.metrics.text import Spelling

PROPERTIES = {
    "base": {"type": "integer", "description": "b"},
    "rate": {"type": "float"},
    "unit": {"type": "string"},
    "on": {"type": "boolean"},
    "pair": {"type": "tuple", "items": {"type": "float"}},
    "names": {"type": "array", "items": {"type": "string"}},
    "more": {"type": "dict", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
FUNCTION = {
    "name": "math.area",
    "description": "Area.",
    "parameters": {"type": "dict", "properties": PROPERTIES, "required": ["base"]},
}
TRUTH = {
    "base": [10],
    "rate": [0.5, 2.0, ""],
    "unit": ["New York, NY", ""],
    "on": [True, ""],
    "pair": [[1.0, 2.0], ""],
    "names": [["A b", "c"], ""],
    "more": [{"city": ["Lyon"], "days": [3, ""]}, ""],
}


def write(folder: Path, name: str, truths: Sequence[Any] | None, **changed: Any) -> Path:
    question = {"id": f"{name}_0", "question": [[{"role": "user", "content": "p"}]], "function": [FUNCTION], **changed}
    path = folder / f"BFCL_v4_{name}.json"
    path.write_text(json.dumps(question) + "\n", encoding="utf-8")
    if truths is not None:
        (folder / "possible_answer").mkdir(exist_ok=True)
        answer = json.dumps({"id": question["id"], "ground_truth": truths})
        (folder / "possible_answer" / path.name).write_text(answer, encoding="utf-8")
    return path


def loaded(folder: Path, name: str = "simple_python", truths: Sequence[Any] | None = None, **changed: Any) -> Case:
    (case,) = load_cases([write(folder, name, truths, **changed)])
    return case


def told(case: Case, *calls: tuple[str, Any]) -> list[str]:
    made = tuple({"name": name, "arguments": arguments} for name, arguments in calls)
    found = call_faults(case, Completion(case.name, 0, "base", "", "stop", tool_calls=made), Spelling())
    return [" ".join(filter(None, (fault.reason, fault.argument))) for fault in found]


def test_its_tools_are_told_as_it_tells_them(tmp_path: Path) -> None:
    case = loaded(tmp_path, truths=[{"math.area": TRUTH}])
    assert (case.name, case.prompt, case.language) == ("BFCL_v4_simple_python/simple_python_0", "p", "en")
    (tool,) = case.tools
    assert tool["function"]["name"] == "math_area"
    assert tool["function"]["description"] == "Area. Note that the provided function is in Python 3 syntax."
    types = {name: schema["type"] for name, schema in parameters_of(tool)["properties"].items()}
    assert types["rate"] == "number"
    assert types["pair"] == "array"
    assert types["more"] == "object"


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ({"base": 10}, []),
        ({"base": 10, "rate": 2}, []),
        ({"base": 10.0}, ["wrong type base"]),
        ({"base": True}, ["wrong type base"]),
        ({"base": 11}, ["wrong value base"]),
        ({"rate": 0.5}, ["missing argument base"]),
        ({"base": 10, "unit": "new-york ny."}, []),
        ({"base": 10, "unit": "Paris"}, ["wrong value unit"]),
        ({"base": 10, "on": 1}, ["wrong type on"]),
        ({"base": 10, "pair": [1.0, 2.0]}, []),
        ({"base": 10, "pair": [1, 2]}, []),  # what a list that may be left out holds is not typed
        ({"base": 10, "pair": [1, 3]}, ["wrong value pair"]),
        ({"base": 10, "names": ["a B", "C"]}, []),
        ({"base": 10, "names": ["c", "a b"]}, ["wrong value names"]),
        ({"base": 10, "more": {"city": "LYON"}}, []),
        ({"base": 10, "more": {"days": 3}}, ["wrong value more"]),
        ({"base": 10, "more": {"city": "Lyon", "zip": 1}}, ["wrong value more"]),
        ({"base": 10, "colour": 1}, ["unexpected argument colour"]),
        ('{"base": 1', ["unreadable call"]),
    ],
)
def test_calls_are_judged_by_its_rules(tmp_path: Path, arguments: Any, faults: list[str]) -> None:
    assert told(loaded(tmp_path, truths=[{"math.area": TRUTH}]), ("math_area", arguments)) == faults


def test_where_no_tool_or_any_tool_is_right(tmp_path: Path) -> None:
    irrelevant, relevant = loaded(tmp_path, "irrelevance"), loaded(tmp_path, "live_relevance")
    assert told(irrelevant) == []
    assert told(irrelevant, ("math_area", {})) == ["extra call"]
    assert told(irrelevant, ("math_area", "{")) == []
    assert told(relevant, ("math_area", {})) == []
    assert told(relevant) == ["missing call"]


def test_literals_of_java_are_read_in_their_types(tmp_path: Path) -> None:
    properties = {"size": {"type": "long"}, "names": {"type": "ArrayList", "items": {"type": "String"}}}
    function = {
        "name": "f",
        "description": "d",
        "parameters": {"type": "dict", "properties": properties, "required": []},
    }
    case = loaded(tmp_path, "simple_java", [{"f": {"size": [5], "names": [["a", "b"]]}}], function=[function])
    (tool,) = case.tools
    assert {schema["type"] for schema in parameters_of(tool)["properties"].values()} == {"string"}
    right = {"size": "5L", "names": 'new ArrayList<>(Arrays.asList("a", "b"))'}
    assert told(case, ("f", right)) == []
    assert told(case, ("f", {**right, "size": "5"})) == ["wrong type size"]
    assert told(case, ("f", {**right, "size": 5})) == ["wrong type size"]
    assert java_value('new HashMap<String, Object>() {{ put("k", 1); put("l", true); }}', "HashMap") == {
        "k": 1,
        "l": True,
    }
    assert java_value("new int[]{1, 2}", "Array", "integer") == [1, 2]
    assert javascript_value("['a', 2]", "array") == ["a", 2]
    assert javascript_value("12n", "Bigint") == 12


@pytest.mark.parametrize(
    ("changed", "told_of"),
    [
        ({"involved_classes": ["MathAPI"]}, ":1: BFCL judges this category by executing what is called"),
        ({"function": [{"name": "f"}]}, ":1: this is not a question of BFCL's (KeyError('parameters'))"),
        ({"question": [[]]}, ":1: this is not a question of BFCL's (TypeError('no messages'))"),
        ({"question": [[{"role": "user"}]]}, ":1: this is not a question of BFCL's (KeyError('content'))"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path: Path, changed: dict[str, Any], told_of: str) -> None:
    path = write(tmp_path, "multi_turn_base", [["cd(folder='a')"]] if "involved_classes" in changed else [], **changed)
    with pytest.raises(UsageError) as caught:
        load_cases([path])
    assert str(caught.value).startswith(f"{path}{told_of}")


@pytest.mark.parametrize("name", ["irrelevance (1)", "réponses"])
def test_a_file_that_was_renamed_is_told(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, [])
    with pytest.raises(UsageError) as caught:
        load_cases([path])
    assert str(caught.value).startswith(f"{path}:1: the file's name 'BFCL_v4_{name}' is none of BFCL's")


@pytest.mark.parametrize(
    "answer",
    [
        {"ground_truth": []},
        {"id": "simple_python_0"},
        {"id": "simple_python_0", "ground_truth": ["f()"]},
        {"id": "simple_python_0", "ground_truth": [{"f": 1}]},
        [],
    ],
)
def test_an_answer_that_is_none_is_told_with_its_line(tmp_path: Path, answer: Any) -> None:
    path = write(tmp_path, "simple_python", [])
    answers = tmp_path / "possible_answer" / path.name
    answers.write_text("\n" + json.dumps(answer))
    with pytest.raises(UsageError) as caught:
        load_cases([path])
    assert str(caught.value).startswith(f"{answers}:2: this is no answer of BFCL's")


def test_a_question_that_is_no_object_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "irrelevance", None)
    path.write_text(path.read_text() + "[]\n")
    with pytest.raises(UsageError, match=r"json:2: this is not a question of BFCL's"):
        load_cases([path])


def test_missing_answers_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, "simple_python", None)
    with pytest.raises(UsageError, match="its right calls are missing"):
        load_cases([path])
