from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.generation.journal import JOURNAL
from pytest_llmbench.history import finish, new_folder, unfinished


def started(reports: Path, token: str, age_s: int = 0) -> Path:
    folder = new_folder(reports, token)
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_text("{}\n")
    now = (folder / JOURNAL).stat().st_mtime
    os.utime(folder / JOURNAL, (now - age_s, now - age_s))
    return folder


def test_a_new_run_makes_nothing_on_disk(tmp_path: Path) -> None:
    assert not new_folder(tmp_path, "token").exists()
    assert list(tmp_path.iterdir()) == []


def test_the_run_that_was_last_written_to_is_resumed(tmp_path: Path) -> None:
    assert unfinished(tmp_path) is None
    started(tmp_path, "z-older", age_s=60)
    newest = started(tmp_path, "a-newer")
    new_folder(tmp_path, "without-answers").mkdir()
    assert unfinished(tmp_path) == newest


def test_a_run_is_resumed_by_name_or_path(tmp_path: Path) -> None:
    older = started(tmp_path, "older", age_s=60)
    started(tmp_path, "newer")
    assert unfinished(tmp_path, "unfinished-older") == older
    assert unfinished(tmp_path, str(older)) == older


def test_a_finished_or_unknown_run_cannot_be_resumed(tmp_path: Path) -> None:
    done = finish(started(tmp_path, "done"), "done")
    started(tmp_path, "open")
    for wanted in ("nonsense", done.name):
        with pytest.raises(UsageError, match=f"no unfinished run '{wanted}'; unfinished in .*: unfinished-open"):
            unfinished(tmp_path, wanted)


def test_finished_runs_are_numbered_on_and_their_locks_removed(tmp_path: Path) -> None:
    first = started(tmp_path, "one")
    (first / "0123.lock").write_text("")
    assert finish(first, "abc").name == "0001_abc"
    assert [path.name for path in (tmp_path / "runs" / "0001_abc").iterdir()] == [JOURNAL]
    (tmp_path / "runs" / "0041_by-hand").mkdir()
    assert finish(started(tmp_path, "two"), "abc").name == "0042_abc"


@pytest.mark.parametrize(
    ("name", "folder"),
    [("été 2026", "0001_été-2026"), ("../../etc", "0001_etc"), ("a/b", "0001_a-b"), ("..", "0001_run")],
)
def test_a_name_becomes_one_safe_folder(tmp_path: Path, name: str, folder: str) -> None:
    assert finish(started(tmp_path, "x"), name) == tmp_path / "runs" / folder


def test_runs_that_end_together_get_numbers_of_their_own(tmp_path: Path) -> None:
    folders = [started(tmp_path, str(number)) for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        names = {path.name for path in threads.map(lambda folder: finish(folder, "same"), folders)}
    assert names == {f"{number:04}_same" for number in range(1, 9)}
