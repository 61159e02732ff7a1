"""`llmbench monitor`: many saved runs against one baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import llmbench

from pytest_llmbench.runs.history import save
from pytest_llmbench.runs.storage import read_saved
from pytest_llmbench.stats.confidence_sequence import DriftSums

MakeRun = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> Path:
    """The current folder, with an accepted run, ten that forgot everything, and one of fewer cases."""
    monkeypatch.chdir(tmp_path)
    for day in range(12):
        document = make_run(timestamp=f"2026-03-{day + 1:02}T10:00:00+00:00", cases=5 if day == 11 else None)
        for row in document["results"]:
            row["scores"]["keywords"] = {"finetuned": 0.0 if day else 1.0}
            row["completions"]["finetuned"]["timestamp"] = document["metadata"]["timestamp"]  # asked anew every day
        save(document, Path("reports"), "accepted" if day == 0 else f"day-{day}")
    return tmp_path


def test_the_runs_since_are_watched_and_an_alarm_fails_on_demand() -> None:
    done = llmbench("monitor", "accepted", "--metrics", "keywords", "--fail-on", "regression")
    assert done.exit_code == 1, done.output
    assert "keywords of finetuned, 30 cases: WORSE since 00" in done.stdout
    assert "not comparable: 0012_day-11: 25 cases of the baseline are missing" in done.stdout


def test_copies_of_a_run_are_told_and_count_once() -> None:
    once = json.loads(llmbench("monitor", "1", "2", "--metrics", "keywords", "--json").stdout)
    saved = read_saved(Path("reports/runs/0002_day-1/run.json"))
    for copy in range(3):
        copied = {**saved, "metadata": {**saved["metadata"], "timestamp": f"2026-04-0{copy + 1}T10:00:00+00:00"}}
        save(copied, Path("reports"), "nightly")
    asked = ("monitor", "1", "2", "13", "14", "15", "--metrics", "keywords")
    assert json.loads(llmbench(*asked, "--json").stdout)["series"] == once["series"]
    told = "0015_nightly: 30 of 30 answers are those of an earlier run, or older than the baseline"
    assert told in llmbench(*asked).stdout
    alone = llmbench("monitor", "2", "13", "--metrics", "keywords", "--fail-on", "regression")
    assert alone.exit_code == 0  # as a night in which nothing changed
    assert alone.stdout.startswith("no answers are new since 0002_day-1: there is nothing to watch yet\n")


def test_programs_read_it_and_the_runs_can_be_named() -> None:
    found = json.loads(llmbench("monitor", "1", "2", "3", "--metrics", "keywords", "--json").stdout)
    assert [point["run"] for point in found["series"][0]["points"]] == ["0002_day-1", "0003_day-2"]
    assert (found["baseline"], found["alpha"]) == ("0001_accepted", 0.05)


def test_nothing_to_watch_is_one_line() -> None:
    done = llmbench("monitor", "12")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "no run was saved since" in done.stderr


def test_a_metric_that_no_run_has_is_refused_as_compare_refuses_it() -> None:
    done = llmbench("monitor", "accepted", "--metrics", "relevence,keywords")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--metrics: no run has 'relevence'; there are keywords," in done.stderr


def test_what_is_not_watched_and_which_runs_are_left_out_are_told(make_run: MakeRun) -> None:
    document = make_run(timestamp="2026-03-20T10:00:00+00:00")
    for row in document["results"]:
        row["scores"]["keywords"] = {"finetuned": None}
    save(document, Path("reports"), "unscored")
    done = llmbench("monitor", "accepted", "2", "unscored")
    assert done.exit_code == 0, done.output
    assert "  left out: 0013_unscored: 30 of 30 cases are not scored whole" in done.stdout
    assert "not watched: call_accuracy of finetuned: the baseline scores no case whole" in done.stdout


def test_the_settings_margin_of_a_metric_counts() -> None:
    asked = ("monitor", "accepted", "--metrics", "keywords", "--fail-on", "regression")
    assert llmbench(*asked, "--margin", "0.1").exit_code == 1
    Path("mine.yaml").write_text("gate: {margins: {keywords: 1.0}}")
    assert llmbench(*asked, "--margin", "0.1", "--config", "mine.yaml").exit_code == 0


@pytest.mark.parametrize("named", [(), ("2", "3", "4")])
def test_each_run_is_looked_at_before_the_next_is_read(named: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Years of nightly runs are more than memory holds."""
    happened: list[str] = []
    add = DriftSums.add

    def reading(path: Path) -> dict[str, Any]:
        happened.append("read")
        return read_saved(path)

    def looking(sums: DriftSums, run: Any) -> None:
        happened.append("look")
        add(sums, run)

    monkeypatch.setattr("pytest_llmbench.runs.history.read_saved", reading)
    monkeypatch.setattr(DriftSums, "add", looking)
    assert llmbench("monitor", "accepted", *named, "--metrics", "keywords").exit_code == 0
    assert happened[1:7] == ["read", "look"] * 3
