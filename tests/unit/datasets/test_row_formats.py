"""The forms that other tools write rows in: read, or refused with what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets.row_formats import new_row
from pytest_llmbench.datasets.rows import read_rows

ASKED, SAID = {"role": "user", "content": "monte"}, {"role": "assistant", "content": "Oui."}
ROW = new_row("monte", "Oui.")


def _read(tmp_path: Path, record: Any) -> dict[str, Any]:
    lines, whole = tmp_path / "rows.jsonl", tmp_path / "rows.json"
    lines.write_text(f"{json.dumps(record)}\n" * 2, encoding="utf-8")
    whole.write_text(json.dumps([record] * 2), encoding="utf-8")
    first, *others = [*read_rows(lines), *read_rows(whole)]
    assert others == [first] * 3
    return first


@pytest.mark.parametrize(
    "record",
    [
        {"messages": None, "instruction": "monte", "input": None, "output": "Oui.", "system": None},
        {"instruction": "monte", "input": float("nan"), "output": "Oui."},
        {"messages": [{**ASKED, "tool_calls": None, "name": None}, {**SAID, "tool_calls": [], "refusal": None}]},
        {"messages": [{**ASKED, "name": "Jo", "id": 3, "redacted": False}, {**SAID, "weight": 1}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "monte"}]}, SAID]},
        {"messages": [{**ASKED, "loss": False}, {**SAID, "loss": True}]},
        {"prompt": [{**ASKED, "train": False}], "completion": [{**SAID, "train": True}]},
        {"messages": [ASKED, SAID], "prompt": "monte"},
        {"conversations": [{"from": "human", "value": "monte"}, {"from": "gpt", "value": "Oui.", "text": None}]},
        {"conversations": [{"from": "user", "value": "monte"}, {"from": "chatgpt", "value": "Oui."}], "system": ""},
        {"conversations": [ASKED, SAID], "messages": None},
        {"prompt": "monte", "completion": "Oui.", "tools": [], "images": []},
        {"conversations": [{"from": "human", "value": "monte"}, {"from": "gpt", "value": "Oui."}], "tools": "[]"},
    ],
)
def test_a_row_of_another_tool_is_the_same_row(tmp_path: Path, record: dict[str, Any]) -> None:
    assert _read(tmp_path, record) == ROW


@pytest.mark.parametrize("label", [True, "false", 0])
def test_a_label_that_does_not_call_the_answer_bad_is_kept(tmp_path: Path, label: object) -> None:
    assert _read(tmp_path, {"prompt": "monte", "completion": "Oui.", "label": label}) == {**ROW, "label": label}


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": [{"from": "system", "value": "Bref."}, {"from": "human", "value": "monte"}, SAID]},
        {"conversations": [{"from": "human", "value": "monte"}, {"from": "bard", "value": "Oui."}], "system": "Bref."},
        {"messages": [ASKED, SAID], "system": "Bref."},
        {"prompt": [ASKED], "completion": [SAID], "system": "Bref."},
    ],
)
def test_a_system_prompt_beside_the_messages_is_asked(tmp_path: Path, record: dict[str, Any]) -> None:
    assert _read(tmp_path, record) == new_row("monte", "Oui.", "Bref.")


def test_earlier_answers_may_say_that_they_are_not_learnt(tmp_path: Path) -> None:
    row = _read(tmp_path, {"messages": [ASKED, {**SAID, "weight": 0}, ASKED, {**SAID, "weight": 1}]})
    assert (row["prompt"], row["completion"]) == ([ASKED, SAID, ASKED], [SAID])


def test_a_bad_answer_in_a_table_of_pandas_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kto.csv"
    Dataset.from_dict({"prompt": ["a", "b"], "completion": ["x", "y"], "label": [True, False]}).to_csv(path)
    with pytest.raises(UsageError, match=r"kto\.csv:3: .*a bad one .'label' is false"):
        read_rows(path)


@pytest.mark.parametrize(("good", "bad"), [("true", "false"), ("TRUE", "FALSE"), ("True", "False")])
def test_labels_of_a_table_are_judged_together(tmp_path: Path, good: str, bad: str) -> None:
    path = tmp_path / "kto.csv"
    path.write_text(f"prompt,completion,label\na,x,{good}\nb,y,{bad}\nc,z,\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"^\S+kto\.csv:3: .*a bad one .'label' is false[^\n]*$"):
        read_rows(path)
    path.write_text(f"prompt,completion,label\na,x,{good}\nb,y,{bad}\nc,z,neither\n", encoding="utf-8")
    assert [row["label"] for row in read_rows(path)] == [good, bad, "neither"]


def test_true_and_false_as_texts_of_json_are_the_names_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "boolq.jsonl"
    rows = [{"prompt": "q", "completion": "x", "label": label} for label in ("true", "false")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [row["label"] for row in read_rows(path)] == ["true", "false"]


def test_texts_that_parquet_holds_as_json_are_not_learnt_in_quotes(tmp_path: Path) -> None:
    said = [{"messages": [ASKED, SAID]}, {"messages": [{**ASKED, "content": [{"type": "text", "text": "x"}]}, SAID]}]
    Dataset.from_list(said, on_mixed_types="use_json").to_parquet(tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet").to_pylist()  # as all but datasets reads it
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    with pytest.raises(UsageError, match=r"rows\.jsonl:1: .*JSON in themselves .*Dataset\.from_parquet"):
        read_rows(path)
    Dataset.from_parquet(str(tmp_path / "rows.parquet")).to_json(path)
    assert read_rows(path) == [ROW, new_row("x", "Oui.")]
    parts = json.dumps([{"type": "text", "text": "Non."}])
    encoded = [{"prompt": "monte", "completion": '"Oui."'}, {"prompt": "baisse", "completion": parts}]
    path.write_text("".join(json.dumps(row) + "\n" for row in encoded), encoding="utf-8")
    with pytest.raises(UsageError, match=r"rows\.jsonl:1: .*JSON in themselves"):
        read_rows(path)


@pytest.mark.parametrize(
    "said",
    [
        [('["a", "b"]', '"ab"'), ('["c", "d"]', '"cd"')],
        [('"Être ou ne pas être"', '"To be, or not to be"')] * 2,
        [('Who is "Jo"?', '[{"type": "person", "name": "Jo"}]'), ("Who?", '"nobody"')],
        [('"monte"', '"Oui."'), ('"monte', "[1]")],
    ],
)
def test_quotes_and_lists_that_are_meant_are_read(tmp_path: Path, said: list[tuple[str, str]]) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": asked, "completion": answered} for asked, answered in said]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read_rows(path) == [new_row(asked, answered) for asked, answered in said]


def test_the_history_of_an_instruction_is_asked_before_it(tmp_path: Path) -> None:
    record = {"instruction": "monte", "output": "Oui.", "history": [["Salut", "Bonjour"]], "system": "Bref."}
    said = [(message["role"], message["content"]) for message in _read(tmp_path, record)["prompt"]]
    assert said == [("system", "Bref."), ("user", "Salut"), ("assistant", "Bonjour"), ("user", "monte")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "monte"}, "'text' alone does not say what is asked"),
        ({"question": "q", "answer": "a"}, "rename 'question' to 'prompt' and 'answer' to 'completion'"),
        ({"query": "q", "response": "a"}, r"rename_columns\(\{'query': 'prompt', 'response': 'completion'\}\)"),
        (
            {"instruction": "q", "context": "", "response": "a"},
            "no 'output'; rename 'response' to 'output'",
        ),
        (
            {"instruction": "q", "context": "c", "response": "a"},
            "rename 'response' to 'output' and 'context' to 'input'",
        ),
        (
            {"input": "q", "context": "c", "response": "a"},
            "rename 'input' to 'instruction', 'response' to 'output' and 'context' to 'input'",
        ),
        (
            {"system_prompt": "s", "question": "q", "response": "a"},
            "rename 'question' to 'prompt', 'response' to 'completion' and 'system_prompt' to 'system'",
        ),
        ({"query": "q", "response": "a", "history": [["a", "b"]]}, "rename 'query' to 'instruction' and 'response' to"),
        ({"prompt": "q", "response": "a"}, "the row has no 'completion'; rename 'response' to 'completion'"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "these are preferences.*leave 'rejected' out"),
        ({"conversation": [ASKED, SAID]}, "rename 'conversation' to 'conversations'"),
        ({"Prompt": "q", "Completion": "a"}, "write 'prompt' for 'Prompt'"),
        ({"messages": [ASKED, {**SAID, "tool_calls": [{}]}]}, "message 2 has 'tool_calls' beside its 'role'"),
        ({"messages": [ASKED, {**SAID, "reasoning_content": "Hm."}]}, "'reasoning_content'.*neither asked nor learnt"),
        ({"messages": [ASKED, {**SAID, "train": False}]}, "message 2 has 'train'"),
        ({"messages": [ASKED, {**SAID, "loss": False}]}, "message 2 has 'loss'"),
        ({"prompt": [ASKED], "completion": [{**SAID, "weight": 0}]}, "message 1 has 'weight', which keeps it from"),
        ({"prompt": "q", "completion": "a", "label": False}, "a bad one .'label' is false. and would be learnt"),
        ({"instruction": "q", "output": "a", "kto_tag": False}, "a bad one .'kto_tag' is false."),
        ({"prompt": "q", "completion": "a", "label": "False"}, "a bad one .'label' is false."),
        ({"conversations": [ASKED, SAID], "image": "a.png"}, "the row has 'image', which would not be learnt"),
        ({"messages": [ASKED, SAID], "videos": ["a.mp4"]}, "the row has 'videos'"),
        ({"messages": [ASKED, {**SAID, "content": None}]}, "message 2 must have a 'role' and a 'content'"),
        ({"messages": [ASKED, SAID], "tools": [{"name": "f"}]}, "the row has 'tools', which would not be learnt"),
        ({"messages": [{"role": "system", "content": "a"}, ASKED, SAID], "system": "b"}, "'system' is not the system"),
        ({"messages": [ASKED, SAID], "prompt": "other"}, "keys of two forms"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "message 1 is the assistant's where the user's is due"),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "message 1 has the unknown role 'tool'"),
        ({"instruction": "q", "output": "a", "history": ["x"]}, "'history' must be a list of pairs"),
        ({"instruction": "q", "output": "a", "history": 1}, "'history' must be a list of pairs, .* not 1"),
    ],
)
def test_what_cannot_be_learnt_as_it_is_says_how_to_convert_it(
    tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=rf"rows\.jsonl:1: .*{message}"):
        _read(tmp_path, record)


def _written_by_datasets(tmp_path: Path, rows: list[dict[str, Any]], how: str) -> Path:
    made = Dataset.from_list(rows)
    path = tmp_path / f"rows.{how.rpartition(' ')[2]}"
    match how:
        case "to_json jsonl":
            made.to_json(path)
        case "to_json json":
            made.to_json(path)
        case "to_json, a list json":
            made.to_json(path, lines=False, orient="records")
        case "to_csv csv":
            made.to_csv(path)
        case "pandas csv":
            made.to_pandas().to_csv(path)
        case "pandas, semicolons csv":
            made.to_pandas().to_csv(path, sep=";", encoding="utf-8-sig")
    return path


@pytest.mark.parametrize(
    "how",
    ["to_json jsonl", "to_json json", "to_json, a list json", "to_csv csv", "pandas csv", "pandas, semicolons csv"],
)
def test_what_datasets_and_pandas_write_is_read(tmp_path: Path, how: str) -> None:
    rows = [
        {"instruction": 'l\'été\n"1"; 2, 3', "input": None, "output": "é", "system": "s"},
        {"instruction": "ouvre", "input": "la porte", "output": "Oui.", "system": None},
    ]
    assert read_rows(_written_by_datasets(tmp_path, rows, how)) == [
        new_row('l\'été\n"1"; 2, 3', "é", "s"),
        new_row("ouvre\n\nla porte", "Oui."),
    ]


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_messages_come_through_json_and_are_refused_as_python_text(tmp_path: Path, key: str) -> None:
    rows = [{key: [{**ASKED, "name": "Jo"}, SAID]}] * 2
    assert read_rows(_written_by_datasets(tmp_path, rows, "to_json jsonl")) == [ROW] * 2
    with pytest.raises(UsageError, match=r"rows\.csv:2: a list of messages written as Python text.*use to_js"):
        read_rows(_written_by_datasets(tmp_path, rows, "to_csv csv"))


@pytest.mark.parametrize(
    ("cell", "kept"), [("web", "web"), ("[draft] of May", "[draft] of May"), ('{"page": 3, "next": null}', {"page": 3})]
)
def test_metadata_in_the_cells_of_a_table_are_text_or_json(tmp_path: Path, cell: str, kept: object) -> None:
    rows = [{"prompt": "monte", "completion": "Oui.", "metadata": cell}] * 2
    assert read_rows(_written_by_datasets(tmp_path, rows, "pandas csv")) == [{**ROW, "metadata": kept}] * 2


def test_the_history_in_the_cells_of_a_table_is_asked_before_the_instruction(tmp_path: Path) -> None:
    history = json.dumps([["Salut", "Bonjour"]])
    rows = [{"instruction": "monte", "output": "Oui.", "history": history}] * 2
    (first, _) = read_rows(_written_by_datasets(tmp_path, rows, "pandas csv"))
    assert [message["content"] for message in first["prompt"]] == ["Salut", "Bonjour", "monte"]


def test_messages_in_the_cells_of_a_table_are_messages(tmp_path: Path) -> None:
    rows = [{"prompt": json.dumps([ASKED]), "completion": json.dumps([SAID])}] * 2
    assert read_rows(_written_by_datasets(tmp_path, rows, "pandas csv")) == [ROW] * 2
