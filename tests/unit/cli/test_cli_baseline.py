"""`llmbench baseline`: the file to commit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import llmbench

from pytest_llmbench.history import find_run
from pytest_llmbench.reports.baseline import read_comparable

SaveRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_run: SaveRun) -> Path:
    """The current folder, with one saved run."""
    monkeypatch.chdir(tmp_path)
    save_run(Path("reports"), "accepted")
    return tmp_path


def test_a_saved_run_becomes_a_file_that_comparisons_read_alike() -> None:
    done = llmbench("baseline", "accepted")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("baselines/accepted.json: 2 results of 0001_accepted, ")
    written, run = read_comparable(Path("baselines/accepted.json")), find_run("1", Path("reports")).comparable
    assert (written.name, written.rows) == (run.name, run.rows)


def test_where_it_is_written_and_read_can_be_chosen(project: Path) -> None:
    (project / "reports").rename("elsewhere")
    assert llmbench("baseline", "1", "--output", "b/mine.json", "--report-dir", "elsewhere").exit_code == 0
    assert llmbench("baseline", "b/mine.json", "--output", "copy.json").exit_code == 0
    assert Path("copy.json").read_bytes() == Path("b/mine.json").read_bytes()


def test_the_projects_own_report_folder_is_looked_into(project: Path) -> None:
    (project / "reports").rename("elsewhere")
    assert llmbench("baseline", "1", LLMBENCH_REPORT_DIR="elsewhere").exit_code == 0


@pytest.mark.parametrize("words", [["7"], ["."], ["1", "--output", "reports"]])
def test_what_cannot_be_written_is_one_line(words: list[str]) -> None:
    done = llmbench("baseline", *words)
    assert (done.exit_code in {2, 3}, done.stdout) == (True, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
