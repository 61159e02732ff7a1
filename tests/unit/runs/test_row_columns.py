"""Rows as columns are the rows that they were made of, and are judged alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_llmbench.runs.baseline import comparable
from pytest_llmbench.runs.gate import compare_runs, compare_with_base
from pytest_llmbench.runs.history import find_run
from pytest_llmbench.runs.lost_answers import counted_as_worst
from pytest_llmbench.runs.result_parts import RESULTS, ResultParts, add_others, settle, write_part
from pytest_llmbench.runs.row_columns import ColumnRows
from pytest_llmbench.runs.storage import write_json
from pytest_llmbench.runs.typed import StoredResults, run_document

MakeRun = Callable[..., dict[str, Any]]


def with_gaps(run: dict[str, Any]) -> dict[str, Any]:
    """A run in which a metric is absent from some rows, unscored in others, and an answer is lost."""
    rows = run["results"]
    del rows[0]["scores"]["relevance"]
    rows[1]["scores"]["relevance"]["finetuned"] = None
    rows[1]["completions"]["finetuned"]["finish"] = "error"
    rows[2]["group"] = "pair"
    return run


def test_columns_give_back_the_rows(make_run: MakeRun) -> None:
    rows = comparable(with_gaps(make_run(cases=6)), "run").rows
    assert list(ColumnRows(rows)) == list(rows)
    assert ColumnRows(rows)[-1] == rows[-1]
    assert len(ColumnRows(rows)) == 6


def test_columns_are_judged_as_rows_are(make_run: MakeRun) -> None:
    before, after = (comparable(with_gaps(make_run(cases=6)), name) for name in ("before", "after"))
    columns = [dataclasses.replace(run, rows=ColumnRows(run.rows)) for run in (before, after)]
    assert compare_with_base(columns[0], kind="compare") == compare_with_base(before, kind="compare")
    assert compare_runs(*columns, kind="regression") == compare_runs(before, after, kind="regression")


def test_what_is_changed_for_a_comparison_stays_in_columns(make_run: MakeRun) -> None:
    before, after = comparable(make_run(cases=6), "before"), comparable(with_gaps(make_run(cases=6)), "after")
    columns = dataclasses.replace(after, rows=ColumnRows(after.rows))
    pairs = [("finetuned", "finetuned")]
    for change in (
        lambda run: run.only("finetuned"),
        lambda run: counted_as_worst((before, run), pairs, ["relevance"])[0][1],
    ):
        assert isinstance(change(columns).rows, ColumnRows)
        assert list(change(columns).rows) == change(after).rows != after.rows


def test_a_run_in_parts_reads_as_the_whole(make_run: MakeRun, tmp_path: Path, monkeypatch: Any) -> None:
    run = make_run(cases=5)
    session = tmp_path / "results-session"
    write_part(session, 3, run["results"][3:4])
    write_part(session, 0, run["results"][:3])
    write_part(session, 0, [{**row, "outcome": "failed"} for row in run["results"][:1]])  # of another test
    add_others(session, run["results"][4:])
    (tmp_path / "results-before").mkdir()
    parts = settle(session, tmp_path)
    expected = [{**run["results"][0], "outcome": "failed"}, *run["results"][1:]]
    assert list(parts) == expected == parts[:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [RESULTS]
    write_json({**run, "results": parts}, tmp_path / "run.json")
    read = find_run(str(tmp_path), tmp_path).document
    assert isinstance(read["results"], ResultParts)
    small = run_document({**run, "results": expected})
    assert run_document(read).results == small.results
    monkeypatch.setattr("pytest_llmbench.runs.typed._MOST_IN_MEMORY", 1)
    large = run_document(read)
    assert isinstance(large.results, StoredResults)
    assert tuple(large.results) == small.results
    assert {name: list(own) for name, own in large.answers.items()} == small.answers
