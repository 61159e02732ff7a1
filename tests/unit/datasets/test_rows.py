"""Rows of every form become the one form; what is wrong is told once, with its line and what to do."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.documents import MOST_FAULTS
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets import record_files
from pytest_llmbench.datasets.messages import FormError
from pytest_llmbench.datasets.row_formats import form_of, new_row, to_row
from pytest_llmbench.datasets.rows import read_rows, stream_rows

SAID = st.text(min_size=1).filter(lambda text: bool(text.strip()))
MESSAGES = {"messages": [{"role": "user", "content": "monte le son"}, {"role": "assistant", "content": "Oui."}]}
PROMPT = {"prompt": "monte le son", "completion": "Oui."}
INSTRUCTION = {"instruction": "monte le son", "output": "Oui."}
WRITERS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    ".jsonl": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    ".json": lambda rows: json.dumps(rows, indent=1),
}


def _written(tmp_path: Path, rows: list[dict[str, Any]], suffix: str = ".jsonl") -> Path:
    path = tmp_path / f"rows{suffix}"
    path.write_text(WRITERS[suffix](rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("record", [MESSAGES, PROMPT, INSTRUCTION])
def test_every_form_in_every_file_gives_the_same_row(tmp_path: Path, record: dict[str, Any], suffix: str) -> None:
    assert read_rows(_written(tmp_path, [record] * 2, suffix)) == [new_row("monte le son", "Oui.")] * 2


def test_a_table_gives_rows_with_their_lines_and_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt;completion;tool\n"monte\nle son";Oui.;volume_up\n\nbaisse;Oui.;\n', encoding="utf-8")
    rows = list(stream_rows(path))
    assert [row.line for row in rows] == [2, 5]
    assert [row.row for row in rows] == [new_row("monte\nle son", "Oui.", tool="volume_up"), new_row("baisse", "Oui.")]


def test_a_table_from_an_old_mac_has_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt;completion\rmonte;Oui.\r"a\rb";Oui.\r')
    assert [(row.line, row.row["prompt"][0]["content"]) for row in stream_rows(path)] == [(2, "monte"), (3, "a\rb")]


@given(question=SAID, given_text=SAID, answer=SAID, system=SAID)
def test_an_instruction_keeps_all_that_is_said(question: str, given_text: str, answer: str, system: str) -> None:
    record = {"instruction": question, "input": given_text, "output": answer, "system": system, "source": "x"}
    assert to_row(record, form_of(record)) == new_row(f"{question}\n\n{given_text}", answer, system, source="x")


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4))
def test_the_last_answer_of_a_conversation_is_what_is_learnt(turns: list[tuple[str, str]]) -> None:
    messages = [
        message
        for asked, said in turns
        for message in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
    ]
    row = to_row({"messages": messages}, "messages")
    assert row["prompt"] + row["completion"] == messages
    assert row["completion"] == messages[-1:]
    assert to_row(row, form_of(row)) == row


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["messages", "prompt", "completion", "instruction", "output", "role", "content"]), inner
            )
        ),
    )
)
def test_any_json_is_a_row_or_a_form_error(record: Any) -> None:
    try:
        row = to_row(record, form_of(record))
    except FormError:
        return
    assert row["completion"][-1]["role"] == "assistant"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", r"rows.jsonl:2: a row is an object"),
        ("{", r"rows.jsonl:2: not valid JSON"),
        ('{"text": "x"}', r":2: a row has the keys 'messages', or .* not 'text'"),
        ('{"prompt": "x", "output": "y"}', r":2: the row has keys of two forms \(prompt and instruction\)"),
        ('{"prompt": [{"role": "user", "content": "x"}]}', ":2: the row has no 'completion'"),
        ('{"prompt": "x", "completion": []}', ":2: 'prompt' must be a list of messages"),
        ('{"prompt": "x", "completion": 3}', ":2: 'prompt' must be a list"),
        ('{"prompt": "x", "completion": " "}', ":2: message 2, the assistant's, is empty; write it, or drop"),
        ('{"instruction": "", "output": "y"}', ":2: 'instruction' is empty"),
        ('{"instruction": "x", "output": 4}', ":2: 'output' must be text"),
        ('{"messages": [{"role": "boss", "content": "x"}]}', ":2: .*message 1 has the unknown role 'boss'"),
        ('{"messages": [{"role": "user", "content": "x"}]}', ":2: the last message is the user's"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', ":2: message 1 is the assistant's where the user's"),
        ('{"messages": [{"role": "user"}]}', ":2: .*must have a 'role' and a 'content'"),
    ],
)
def test_a_wrong_row_is_told_with_its_line_and_what_to_do(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    first = MESSAGES if "messages" in line else INSTRUCTION if "instruction" in line else PROMPT
    path.write_text(f"{json.dumps(first)}\n{line}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_rows(path)


def test_mixed_forms_in_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rows.jsonl:2: has the form 'instruction' where line 1 began with 'prompt'"):
        read_rows(_written(tmp_path, [PROMPT, INSTRUCTION]))


@pytest.mark.parametrize("line", ["{}\n", "{\n"])
def test_many_faults_are_told_together_and_a_wrong_file_is_not_read_to_its_end(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line * 1000, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_rows(path)
    assert 1 < len(str(caught.value).splitlines()) == MOST_FAULTS


@pytest.mark.parametrize(("rows", "message"), [([], "holds no row"), ([PROMPT], ":1: this is the only row")])
def test_an_empty_and_a_one_row_dataset_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_rows(_written(tmp_path, rows))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "rows.jsonl",
            b'{"prompt": "a", "completion": "b"}\n{"prompt": "\xe9"}',
            r"rows.jsonl:2: byte 0xe9 is not UTF-8",
        ),
        ("rows.csv", b"prompt,completion\na,b\nd\xe9,b\n", r"rows.csv:3: byte 0xe9 is not UTF-8"),
        ("rows.jsonl", "é".encode("utf-16"), "rows.jsonl:1: the file is UTF-16"),
        ("rows.jsonl", b"\0", "rows.jsonl:1: control character"),
        ("rows.csv", b"prompt,completion\na,b,c\n", r"rows.csv:2: has 3 cells where the header has 2"),
        ("rows.csv", b"prompt,prompt\na,b\n", "rows.csv:1: the header names a column twice"),
        ("rows.csv", b'prompt,completion\n"a,b\n', "rows.csv:2: not valid CSV"),
        ("rows.json", b'{"prompt": "a"}', "rows.json:1: a JSON file of rows is a list"),
        ("rows.jsonl", b'[{"prompt": "a", "completion": "b"}]', r"rows.jsonl:1: a JSON list, .* name the file .json"),
        ("rows.jsonl", b'[\n {"prompt": "a", "completion": "b"}\n]', r"^[^\n]*rows.jsonl:1: a JSON list, [^\n]*$"),
        ("rows.jsonl", b'[{"role": "user", "content": "x"}]', "rows.jsonl:1: a row is an object with the keys"),
        ("rows.parquet", b"PAR1", r"rows are read from .jsonl, .csv, .json files; convert it: .*from_parquet"),
        ("rows.jsonl.gz", b"", "rows are read from .jsonl, .csv, .json files; unpack it first"),
    ],
)
def test_a_file_that_is_none_of_rows_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_rows(tmp_path / name)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_rows(tmp_path / "none.jsonl")


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "LONGEST_LINE", 2**20)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[" * (8 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=":1: the line is longer than 1 MiB"):
            list(stream_rows(path))
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_a_large_json_file_is_sent_back_for_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "LARGEST_JSON", 10)
    with pytest.raises(UsageError, match="convert it to JSON Lines"):
        read_rows(_written(tmp_path, [PROMPT] * 2, ".json"))


@given(st.lists(st.fixed_dictionaries({"prompt": SAID, "completion": SAID}), min_size=2, max_size=5))
def test_what_is_written_as_a_table_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    rows = [{key: text.replace("\0", "0").replace("\r", "r") for key, text in row.items()} for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, ["prompt", "completion"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    path.write_bytes(out.getvalue().encode(errors="replace"))
    assert len(read_rows(path)) == len(rows)
