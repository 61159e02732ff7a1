"""What keeps two runs from being quite the same is told, and what does not matter is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from support.comparables import compared
from support.saved_runs import MakeRun

from pytest_llmbench.runs.baseline import Comparable, comparable
from pytest_llmbench.runs.comparability import differences_between

KNOWN: dict[str, Any] = {
    "vocabulary": {"path": "prompts/tools.yaml", "sha256": "aaaa"},
    "generation": {"temperature": 0.7, "top_p": 0.9},
    "spelling": {"case_sensitive": False, "call_form": "auto"},
    "asked": {
        "model": {"template_arguments": {}, "system_role": "system"},
        "server": {"base_body": None, "adapter_body": None, "tool_choice": "auto"},
    },
    "seed": 42,
    "epochs": 1,
    "base_model": "smollm2-135m",
    "base_weights_sha256": "1f0c",
    "quantization": "nf4",
    "hardware": {"cpu": {"model": "A CPU", "cores": 8}},
    "device": "cpu",
    "versions": {"torch": "2.13.0", "numpy": "2.1.0"},
    "python": "3.11.9",
}


def run(**changed: Any) -> Comparable:
    known: Comparable = compared([0.5, 0.5], **{**KNOWN, **changed})
    return known


def test_two_runs_of_the_same_have_nothing_to_tell() -> None:
    assert differences_between(run(), run()) == []


@pytest.mark.parametrize(
    ("changed", "kind", "told"),
    [
        ({"vocabulary": {"path": "prompts/tools.yaml", "sha256": "bbbb"}}, "changed_vocabulary", "sha256 aaaa -> bbbb"),
        ({"generation": {"temperature": 0.2, "top_p": 0.9}}, "changed_settings", "generation.temperature 0.7 -> 0.2"),
        ({"epochs": 3}, "changed_settings", "epochs 1 -> 3"),
        ({"spelling": {"case_sensitive": True}}, "changed_settings", "metrics.case_sensitive False -> True"),
        (
            {"spelling": {"case_sensitive": False, "call_form": "json"}},
            "changed_settings",
            "metrics.call_form auto -> json",
        ),
        (
            {"asked": {"model": {"template_arguments": {"enable_thinking": False}}}},
            "changed_settings",
            'model.template_arguments {} -> {"enable_thinking": false}',
        ),
        (
            {"asked": {"server": {"base_body": {"lora": []}, "tool_choice": "required"}}},
            "changed_settings",
            'server.base_body null -> {"lora": []}; server.tool_choice "auto" -> "required"',
        ),
        ({"quantization": "none"}, "changed_model", "quantization nf4 -> none"),
        (
            {"asked": {"model": {"system_role": "user"}}},
            "changed_settings",
            'model.system_role "system" -> "user"',
        ),
        ({"base_weights_sha256": "2a2a"}, "changed_model", "base_weights_sha256 1f0c -> 2a2a"),
        ({"hardware": {"cpu": {"model": "B", "cores": 8}}}, "changed_hardware", "hardware.cpu.model A CPU -> B"),
        ({"device": "cuda"}, "changed_hardware", "device cpu -> cuda"),
        ({"versions": {"torch": "2.14.0", "numpy": "2.1.0"}}, "changed_libraries", "versions.torch 2.13.0 -> 2.14.0"),
        ({"python": "3.12.1"}, "changed_libraries", "python 3.11.9 -> 3.12.1"),
    ],
)
def test_what_was_changed_is_told_by_name(changed: dict[str, Any], kind: str, told: str) -> None:
    [note] = differences_between(run(), run(**changed))
    assert note["kind"] == kind
    assert note["message"].endswith(f": {told}")


def test_several_changes_are_told_in_the_order_of_the_baseline() -> None:
    [note] = differences_between(run(), run(versions={"numpy": "2.2.0", "torch": "2.14.0"}, python="3.12.1"))
    assert note["message"].endswith(
        "versions.torch 2.13.0 -> 2.14.0; versions.numpy 2.1.0 -> 2.2.0; python 3.11.9 -> 3.12.1"
    )


def test_where_the_vocabulary_lies_and_what_one_side_does_not_know_is_no_change() -> None:
    moved = run(vocabulary={"path": "elsewhere.yaml", "sha256": "aaaa"})
    older = run(hardware={}, versions={}, python=None, vocabulary=None, base_weights_sha256=None, asked={})
    assert differences_between(run(), moved) == []
    assert differences_between(older, run()) == differences_between(run(), older) == []


def test_a_device_that_an_older_run_left_to_llama_cpp_is_no_other_hardware() -> None:
    assert differences_between(run(device="auto"), run()) == differences_between(run(), run(device="auto")) == []


def test_a_prompt_that_changed_is_told_and_long_lists_are_cut_in_the_message_alone() -> None:
    before = compared([0.5] * 9)
    rows: Any = [{**row, "prompt_sha": "b"} if index else row for index, row in enumerate(before.rows)]
    [note] = differences_between(before, dataclasses.replace(before, rows=rows))
    assert note["kind"] == "changed_prompt"
    assert note["message"].startswith("8 cases whose prompt or expectation changed")
    assert note["message"].endswith("c0/1, c0/2, c0/3, c0/4, c0/5 and 3 more")
    assert note["cases"] == [f"c0/{number}" for number in range(1, 9)]


def test_one_case_too_few_or_too_many_is_told_in_the_singular() -> None:
    two, three = compared([0.5] * 2), compared([0.5] * 3)
    assert differences_between(three, two)[0]["message"].startswith("1 case of the baseline not in this run")
    assert differences_between(two, three)[0]["message"].startswith("1 case of this run not in the baseline")


def test_a_real_run_differs_from_itself_in_nothing_and_from_an_edited_prompt_in_that_alone(make_run: MakeRun) -> None:
    document, edited = make_run(), make_run()
    edited["results"][3]["keywords_expected"] = ["autre"]
    before, same, after = (comparable(one, "run") for one in (document, document, edited))
    assert differences_between(before, same) == []
    assert [note["kind"] for note in differences_between(before, after)] == ["changed_prompt"]
