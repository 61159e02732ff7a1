"""CSV as spreadsheets and pandas write it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from pytest_llmbench.core.csv_files import LONGEST_CELL, read_table
from pytest_llmbench.core.errors import UsageError

PATH = Path("t.csv")
ROW = {"prompt": "monte", "completion": "Oui."}


def _read(text: str) -> list[tuple[int, dict[str, str]]]:
    return list(read_table(PATH, io.StringIO(text, newline="")).rows)


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nprompt;completion\nmonte;Oui.\n",
        '\n"SEP=,"\r\nprompt,completion\r\nmonte,Oui.\r\n',
        "sep=\\t\nprompt\tcompletion\nmonte\tOui.\n",
        "sep=|;;\nprompt|completion\nmonte|Oui.\n",
        "\n\nprompt;completion\nmonte;Oui.",
    ],
)
def test_the_delimiter_may_be_told_above_the_header(text: str) -> None:
    header = text[: text.index("prompt")].count("\n") + 1
    assert _read(text) == [(header + 1, ROW)]


@pytest.mark.parametrize(
    "text",
    [
        "prompt;completion;;\nmonte;Oui.;;\n;;;\n",  # cells that were formatted and emptied
        "prompt;completion;\nmonte;Oui.\n",
        "prompt,completion\nmonte,Oui.,,\n",
        ",prompt,completion\n0,monte,Oui.\n",  # the index of pandas
        ",Unnamed: 0,prompt,completion\n0,17,monte,Oui.\n",  # and after a second saving
        '"prompt";"completion"\n"monte";"Oui."\n" ";\n',
    ],
)
def test_columns_without_a_name_are_left_out(text: str) -> None:
    assert [row for _, row in _read(text)] == [ROW]


def test_a_quoted_cell_may_hold_lines_and_delimiters() -> None:
    rows = _read('"prompt","a; ""b""; c"\n"monte\r\nle ""son""",x\nbaisse,\n')
    assert rows == [(2, {"prompt": 'monte\r\nle "son"', 'a; "b"; c': "x"}), (4, {"prompt": "baisse"})]


def test_a_cell_may_be_as_long_as_a_line_of_json_and_pythons_own_limit_stays() -> None:
    usual = csv.field_size_limit()
    [(_, row)] = _read(f"prompt,completion\n{'m' * 200_000},Oui.")
    assert len(row["prompt"]) == 200_000
    with pytest.raises(
        UsageError, match=r"t\.csv:2: not valid CSV: a cell is longer than 8 MiB; is a quote not closed"
    ):
        _read(f'prompt,completion\n"{"m" * (LONGEST_CELL + 1)}",Oui.')
    assert csv.field_size_limit() == usual


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sep=:\nprompt:completion\n", r"t\.csv:1: the line says that ':' parts the cells; they are parted by , ; |"),
        ("prompt,completion\na,b,c\n", "t.csv:2: has 3 cells where the header has 2"),
        ("prompt,completion\na\n", "t.csv:2: has 1 cell where the header has 2"),
        ("prompt,,completion\na,lost,b\n", r"t\.csv:2: cell 2 \('lost'\) stands in a column without a name"),
        ("prompt, prompt\na,b\n", "t.csv:1: the header names a column twice"),
    ],
)
def test_what_would_be_lost_or_mixed_up_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _read(text)
