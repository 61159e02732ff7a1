from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.core.errors import MissingRunError, NotReadyError, UsageError
from pytest_llmbench.generation.completion_store import JOURNAL
from pytest_llmbench.runs.baseline import comparable, write_baseline
from pytest_llmbench.runs.gate import compare_with_base
from pytest_llmbench.runs.history import (
    at_work_beside,
    find_run,
    finish,
    new_folder,
    new_side_folder,
    read_in_turn,
    save,
    saved_runs,
    saved_since,
    trend,
    unfinished,
)

MakeRun = Callable[..., dict[str, Any]]
SaveRun = Callable[..., Path]


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


def test_a_run_beside_the_session_is_never_what_is_resumed(tmp_path: Path) -> None:
    older = started(tmp_path, "stopped", age_s=60)
    beside = new_side_folder(tmp_path, "baseline")
    beside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(older, beside)
    assert unfinished(tmp_path) == older


def test_what_a_killed_process_left_of_a_run_beside_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    whole, foreign, used, left, next_one = (
        new_side_folder(tmp_path, token) for token in ("whole", "foreign", "used", "left", "next")
    )
    for folder in (whole, left):
        code = (
            "import os, pathlib\n"
            "from pytest_llmbench.runs.folders import at_work_beside\n"
            f"with at_work_beside(pathlib.Path({str(folder)!r})): os._exit(9)\n"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
        if folder == whole:
            (folder / "run.json").write_text("{}")
    foreign.mkdir()
    resumable = started(tmp_path, "stopped")
    assert left.is_dir()
    with at_work_beside(used), at_work_beside(next_one):
        assert {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()} == {
            path.name for path in (whole, foreign, used, next_one, resumable)
        }
    assert not used.exists()
    assert not next_one.exists()
    assert whole.is_dir()


def test_a_run_beside_that_ends_whole_is_numbered_and_keeps_no_lock(tmp_path: Path) -> None:
    folder = new_side_folder(tmp_path, "baseline")
    with at_work_beside(folder):
        (folder / "run.json").write_text("{}")
        done = finish(folder, "again")
    assert [path.name for path in done.iterdir()] == ["run.json"]
    assert not folder.exists()


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


def finishing(reports: Path, first: int, count: int, *, dying: bool = False) -> subprocess.Popen[bytes]:
    """A process that finishes runs of its own; a dying one is killed with the folder about to be renamed."""
    code = (
        "import os, pathlib, sys\n"
        "from pytest_llmbench.runs.history import finish, new_folder\n"
        f"reports, dying = pathlib.Path({str(reports)!r}), {dying}\n"
        "if dying: pathlib.Path.rename = lambda *_: os._exit(9)\n"
        f"for token in range({first}, {first + count}):\n"
        "    finish(new_folder(reports, str(token)), 'same')\n"
    )
    return subprocess.Popen([sys.executable, "-c", code])


def test_processes_that_end_together_get_numbers_of_their_own(tmp_path: Path) -> None:
    for token in range(15):
        started(tmp_path, str(token))
    processes = [finishing(tmp_path, first, 5) for first in (0, 5, 10)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    numbered = {path.name for path in (tmp_path / "runs").glob("0*")}
    assert numbered == {f"{number:04}_same" for number in range(1, 16)}


def test_a_session_that_is_killed_while_it_saves_takes_no_number(tmp_path: Path, make_run: MakeRun) -> None:
    folder = started(tmp_path, "7")
    assert finishing(tmp_path, 7, 1, dying=True).wait() == 9
    assert saved_runs(tmp_path) == []
    assert unfinished(tmp_path) == folder
    assert save(make_run(cases=1), tmp_path, "next").name == "0001_next"


def test_a_save_that_the_disk_refuses_leaves_nothing(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_llmbench.runs.folders.copy_journal", refuse)
    with pytest.raises(NotReadyError, match="No space left on device; free some space"):
        save(make_run(cases=1), tmp_path, "big", journal=tmp_path / "completions.jsonl")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.fixture
def reports(tmp_path: Path, save_run: SaveRun, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three saved runs, in a current folder that is not in a git repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("accepted", "nightly", "accepted"):
        save_run(Path("reports"), name)
    (tmp_path / "reports/runs/0004_without-a-file").mkdir()
    return Path("reports")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("2", "0002_nightly"),
        ("0001", "0001_accepted"),
        ("0001_accepted", "0001_accepted"),
        ("accepted", "0003_accepted"),
        ("latest", "0003_accepted"),
        ("reports/runs/0001_accepted", "0001_accepted"),
        ("reports/runs/0001_accepted/run.json", "0001_accepted"),
    ],
)
def test_a_saved_run_is_found_by_number_name_or_path(reports: Path, reference: str, name: str) -> None:
    found = find_run(reference, reports)
    assert (found.name, found.path) == (name, reports / "runs" / name / "run.json")
    assert len(found.document["results"]) == 2


def test_a_name_is_found_as_it_was_given_to_save(tmp_path: Path, save_run: SaveRun) -> None:
    save_run(tmp_path, "été 2026")
    assert find_run("été 2026", tmp_path).name == "0001_été-2026"


def test_a_runs_name_wins_over_a_file_of_that_name(reports: Path) -> None:
    Path("nightly").write_text("something else")
    assert find_run("nightly", reports).name == "0002_nightly"
    with pytest.raises(UsageError, match="nightly:1"):
        find_run("./nightly", reports)


def test_a_folder_stands_for_the_baseline_in_it(reports: Path) -> None:
    accepted = find_run("1", reports)
    write_baseline(accepted.document, Path("baselines/accepted.json"), accepted.name)
    found = find_run("baselines", reports)
    assert (found.name, found.is_baseline, found.path) == ("0001_accepted", True, Path("baselines/accepted.json"))
    Path("baselines/other.json").write_text("{}")
    with pytest.raises(UsageError, match=r"holds 2 files \(accepted.json, other.json\); name one"):
        find_run("baselines", reports)


def test_an_unknown_run_is_told_with_what_there_is(reports: Path) -> None:
    with pytest.raises(UsageError) as told:
        find_run("acepted", reports)
    assert str(told.value) == (
        "no run 'acepted': it is neither one of the runs in reports/runs (0003_accepted, 0002_nightly, 0001_accepted), "
        "nor a file, nor a git reference (this is not a git repository); did you mean 'accepted' or '0003_accepted' "
        "or '0001_accepted'?"
    )


def test_of_many_runs_the_newest_are_told(tmp_path: Path) -> None:
    for number in range(1, 15):
        folder = tmp_path / f"runs/{number:04}_r"
        folder.mkdir(parents=True)
        (folder / "run.json").touch()
    with pytest.raises(UsageError, match=r"\(0014_r, .*0005_r, and 4 more\)"):
        find_run("nonsense", tmp_path)


@pytest.mark.parametrize(
    "reference", ["acepted", "99", "latest", "absent/run.json", "empty", "HEAD", "main:absent.json"]
)
def test_a_run_that_is_not_there_can_be_told_from_one_that_cannot_be_read(
    tmp_path: Path, commits: list[str], reference: str
) -> None:
    Path("empty").mkdir()
    with pytest.raises(MissingRunError):
        find_run(reference, tmp_path / "reports")


@pytest.mark.parametrize("reference", ["", "x" * 400, "a\0b", "-h", "9" * 30, "main:", ":run.json"])
def test_odd_references_are_unknown_ones(reports: Path, reference: str) -> None:
    with pytest.raises(UsageError, match="no run"):
        find_run(reference, reports)


def test_latest_of_nothing_says_how_to_save_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no benchmark yet; `pytest -m benchmark` saves one"):
        find_run("latest", tmp_path)


def test_a_number_that_two_folders_have_is_ambiguous(reports: Path, save_run: SaveRun) -> None:
    save_run(reports, "x").parent.rename(reports / "runs/0002_copied")
    with pytest.raises(UsageError, match="2 is the number of 2 runs: 0002_copied, 0002_nightly"):
        find_run("2", reports)


def test_a_folder_without_a_whole_run_says_what_it_is(reports: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: neither run\.json nor benchmark\.json is in it"):
        find_run("empty", reports)
    with pytest.raises(UsageError, match="was cut short; `pytest -m benchmark` finishes it") as raised:
        find_run(str(started(reports, "cut")), reports)
    assert raised.value.names == ("resume",)


def test_a_damaged_run_is_not_passed_over_for_an_older_one(reports: Path) -> None:
    damaged = reports / "runs/0003_accepted/run.json"
    damaged.write_text(damaged.read_text(encoding="utf-8")[:-200], encoding="utf-8")
    with pytest.raises(UsageError, match=r"0003_accepted/run\.json:\d+: .*cut off"):
        find_run("accepted", reports)


def git(*words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes of three commits of a repository in the current folder; the first is tagged v1."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    hashes = []
    for number in range(3):
        git("commit", "--quiet", "--allow-empty", "-m", str(number))
        hashes.append(git("rev-parse", "HEAD"))
    git("tag", "v1", hashes[0])
    return hashes


def test_a_commit_stands_for_the_newest_run_made_from_it(commits: list[str], save_run: SaveRun) -> None:
    reports = Path("reports")
    for commit in (commits[2], commits[0], commits[0]):
        save_run(reports, commit[:8], commit=commit)
    save_run(reports, commits[0][:8], commit=commits[0], dirty=True)
    for reference in ("v1", "HEAD~2", commits[0], commits[0][:8]):
        assert find_run(reference, reports).name == f"0003_{commits[0][:8]}"
    assert find_run("main", reports).name == f"0001_{commits[2][:8]}"


def test_a_dirty_run_stands_in_for_a_commit_with_a_warning(
    commits: list[str], save_run: SaveRun, caplog: pytest.LogCaptureFixture
) -> None:
    save_run(Path("reports"), "tried", commit=commits[0], dirty=True)
    assert find_run("v1", Path("reports")).name == "0001_tried"
    assert "0001_tried was made from commit" in caplog.text
    assert "with uncommitted changes" in caplog.text


def test_a_commit_without_a_run_is_told(commits: list[str], save_run: SaveRun) -> None:
    save_run(Path("reports"), "mine", commit=commits[2])
    with pytest.raises(
        UsageError, match=rf"v1 is commit {commits[0][:12]}, and none of .*0001_mine\) was made from it"
    ):
        find_run("v1", Path("reports"))


def test_a_short_hash_of_two_commits_is_ambiguous(tmp_path: Path, save_run: SaveRun) -> None:
    for last in "ab":
        save_run(tmp_path, "run", commit=f"{'1' * 39}{last}")
    with pytest.raises(UsageError, match="11111111 is short for 2 commits of saved runs"):
        find_run("1" * 8, tmp_path)


def test_a_baseline_is_read_as_it_was_committed(commits: list[str], make_run: MakeRun) -> None:
    path = Path("baselines/accepted.json")
    write_baseline(make_run(cases=3), path, "0007_accepted")
    git("add", ".")
    git("commit", "--quiet", "-m", "accept")
    path.write_text("edited since")
    found = find_run("main:baselines/accepted.json", Path("reports"))
    assert (found.name, found.path, found.is_baseline) == ("0007_accepted", None, True)
    assert len(found.comparable.rows) == 3


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere:run.json", "git knows no branch, tag or commit 'nowhere' here"),
        ("main:absent.json", "no such file was committed there"),
        ("main:folder", "no such file was committed there"),
        ("main:folder/broken.json", r"main:folder/broken\.json:1: .*cut off"),
        ("main:folder/binary", "not a UTF-8 text file"),
    ],
)
def test_what_git_cannot_give_is_one_message(commits: list[str], reference: str, message: str) -> None:
    Path("folder").mkdir()
    Path("folder/broken.json").write_text('{"schema_version": 1,')
    Path("folder/binary").write_bytes(b"\xff\xfe\x00")
    git("add", ".")
    git("commit", "--quiet", "-m", "files")
    with pytest.raises(UsageError, match=message):
        find_run(reference, Path("reports"))


def test_a_committed_file_outside_a_repository_is_told(reports: Path) -> None:
    with pytest.raises(UsageError, match=r"main:a\.json: the current folder is not in a git repository"):
        find_run("main:a.json", reports)


def test_the_trend_tells_the_newest_runs_oldest_first(tmp_path: Path, make_run: MakeRun) -> None:
    for number, outcome in enumerate((None, "pass", "fail")):
        document = make_run(timestamp=f"2026-02-1{number}T10:00:00+00:00")
        gate = compare_with_base(comparable(document, "nightly"), kind="compare")
        document["gate"] = {**gate, "kind": "regression", "outcome": outcome} if outcome else None
        save(document, tmp_path, "nightly")
    points = trend(tmp_path, 2)
    assert [(point.name, point.outcome) for point in points] == [
        ("0002_nightly", "pass"),
        ("0003_nightly", "fail"),
    ]
    assert points[0].timestamp == "2026-02-11T10:00:00+00:00"
    assert [point.name for point in trend(tmp_path, 1, until="2026-02-11T10:00:00+00:00")] == ["0002_nightly"]
    means = make_run()["statistics"]["metrics"]["relevance"]
    assert {name: of["relevance"] for name, of in points[0].variants.items()} == {
        name: item["mean"] for name, item in means.items()
    }


def test_answers_that_were_scored_anew_are_no_run_of_the_trend(tmp_path: Path, make_run: MakeRun) -> None:
    save(make_run(timestamp="2026-02-10T10:00:00+00:00"), tmp_path, "accepted")
    later, again = make_run(timestamp="2026-02-11T10:00:00+00:00"), make_run(timestamp="2026-02-11T10:00:00+00:00")
    again["metadata"]["rescored"] = {"run": "0002_later", "timestamp": "", "metrics": [], "metrics_from": "settings"}
    save(later, tmp_path, "later")
    save(again, tmp_path, "rescored-later")
    assert [point.name for point in trend(tmp_path, 10)] == ["0001_accepted", "0002_later"]
    since = read_in_turn(saved_since(find_run("accepted", tmp_path).comparable, tmp_path))
    assert [run.name for run in since] == ["0002_later"]


def test_a_run_whose_results_are_gone_is_left_out_of_what_was_made_since_aloud(
    tmp_path: Path, save_run: SaveRun, caplog: pytest.LogCaptureFixture
) -> None:
    save_run(tmp_path, "accepted", timestamp="2026-02-10T10:00:00+00:00")
    pruned = save_run(tmp_path, "pruned", timestamp="2026-02-11T10:00:00+00:00")
    head = json.loads(pruned.read_text(encoding="utf-8"))
    large = {**head, "results": [], "results_in": {"folder": "results", "count": 2}}
    pruned.write_text(json.dumps(large), encoding="utf-8")
    save_run(tmp_path, "later", timestamp="2026-02-12T10:00:00+00:00")
    since = read_in_turn(saved_since(find_run("accepted", tmp_path).comparable, tmp_path))
    assert [run.name for run in since] == ["0003_later"]
    assert [str(pruned) in message for message in caplog.messages] == [True]


def test_a_run_that_cannot_be_read_is_left_out_of_the_trend_aloud(
    tmp_path: Path, save_run: SaveRun, caplog: pytest.LogCaptureFixture
) -> None:
    save_run(tmp_path, "fine")
    cut = save_run(tmp_path, "cut")
    cut.write_text(cut.read_text(encoding="utf-8")[:-100], encoding="utf-8")
    edited = save_run(tmp_path, "edited")
    edited.write_text(edited.read_text(encoding="utf-8").replace('"mean"', '"median"'), encoding="utf-8")
    assert [point.name for point in trend(tmp_path, 10)] == ["0001_fine"]
    assert [str(cut) in message or str(edited) in message for message in caplog.messages] == [True, True]
