"""`llmbench compare`: saved runs held against a baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import llmbench

from pytest_llmbench.runs.baseline import write_baseline
from pytest_llmbench.runs.history import save

MakeRun = Callable[..., dict[str, Any]]
REPORTS = Path("reports")


def with_relevance(document: dict[str, Any], score: float) -> dict[str, Any]:
    """The same run with another relevance of every fine-tuned answer, not quite the same for all."""
    for index, row in enumerate(document["results"]):
        row["scores"]["relevance"]["finetuned"] = score + index % 3 / 100
    return document


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> Path:
    """The current folder, with an accepted run, a like one and a worse one."""
    monkeypatch.chdir(tmp_path)
    for name, score in (("accepted", 0.8), ("alike", 0.8), ("worse", 0.2)):
        save(with_relevance(make_run(commit="c" * 40), score), REPORTS, name)
    return tmp_path


def compared(*words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(llmbench("compare", *words, "--json").stdout)
    return document


def test_a_comparison_is_told_with_its_evidence() -> None:
    done = llmbench("compare", "accepted", "worse")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("0003_worse:\n")
    line = next(line for line in done.stdout.splitlines() if " Relevance  " in line)
    assert "0.810 -> 0.210" in line
    assert "-0.600" in line
    assert "Cases that moved most" in done.stdout


def test_times_of_shared_batches_are_no_comparison() -> None:
    for held_against in ("accepted", "accepted.json"):
        llmbench("baseline", "accepted", "--as-measured", "--output", "accepted.json")
        done = llmbench("compare", held_against, "worse", "--metrics", "latency_s")
        assert done.exit_code == 0
        assert "NO VERDICT" in done.stdout
        assert "answers shared batches, so that none has a time of its own" in " ".join(done.stdout.split())
        assert not any(word in done.stdout for word in ("BETTER", "WORSE", "NO CHANGE SHOWN"))


def test_the_document_names_the_sides_and_carries_each_gate() -> None:
    document = compared("accepted", "alike", "worse")
    assert document["baseline"]["name"] == "0001_accepted"
    assert document["baseline"]["commit"] == "c" * 40
    assert document["baseline"]["path"] == "reports/runs/0001_accepted/run.json"
    assert [side["run"]["name"] for side in document["runs"]] == ["0002_alike", "0003_worse"]
    effects = [
        verdict["effect"]
        for side in document["runs"]
        for verdict in side["gate"]["verdicts"]
        if (verdict["metric"], verdict["category"]) == ("relevance", None)
    ]
    assert effects == [0.0, pytest.approx(-0.6)]


@pytest.mark.parametrize(
    ("runs", "fail_on", "code"),
    [
        (["worse"], [], 0),
        (["alike"], ["--fail-on", "regression"], 0),
        (["worse"], ["--fail-on", "regression"], 1),
        (["worse", "alike"], ["--fail-on", "regression"], 1),
        (["worse"], ["--fail-on", "regression", "--margin", "0.9"], 0),
        (["worse"], ["--fail-on", "regression", "--metrics", "keywords,tool_accuracy"], 0),
        (["worse"], ["--fail-on", "regression", "--variant", "base"], 0),
        (["worse"], ["--fail-on", "regression", "--variant", "finetuned"], 1),
    ],
)
def test_only_a_regression_that_was_asked_for_is_exit_code_1(runs: list[str], fail_on: list[str], code: int) -> None:
    for form in ([], ["--json"]):
        assert llmbench("compare", "accepted", *runs, *fail_on, *form).exit_code == code


def test_options_reach_the_comparison() -> None:
    asked = ("--metrics", "relevance", "--alpha", "0.01", "--margin", "0.05", "--fail-on", "regression")
    (side,) = compared("1", "2", *asked)["runs"]
    assert side["gate"]["alpha"] == 0.01
    assert {(verdict["metric"], verdict["margin"]) for verdict in side["gate"]["verdicts"]} == {("relevance", 0.05)}


def test_the_projects_settings_apply_where_no_option_is_given() -> None:
    Path("mine.yaml").write_text("gate: {metrics: [keywords], margins: {keywords: 0.1}, categories: false}")
    (side,) = compared("1", "2", "--config", "mine.yaml")["runs"]
    assert [(one["metric"], one["margin"]) for one in side["gate"]["verdicts"]] == [("keywords", 0.1)]


def test_a_committed_baseline_gives_the_verdict_of_its_run(make_run: MakeRun) -> None:
    write_baseline(with_relevance(make_run(commit="c" * 40), 0.8), Path("baselines/accepted.json"), "0001_accepted")
    from_file, from_run = (
        compared(baseline, "3")["runs"][0]["gate"] for baseline in ("baselines/accepted.json", "accepted")
    )
    assert from_file["verdicts"] == from_run["verdicts"]
    assert from_file["baseline"]["name"] == "0001_accepted"


def test_one_case_is_no_verdict(make_run: MakeRun) -> None:
    for name, score in (("one", 0.8), ("one-worse", 0.1)):
        save(with_relevance(make_run(cases=1), score), REPORTS, name)
    done = llmbench("compare", "one", "one-worse", "--fail-on", "regression", "--metrics", "relevance")
    assert done.exit_code == 0, done.output
    assert "INCONCLUSIVE" in done.stdout


def test_what_is_open_fails_where_the_settings_are_strict(make_run: MakeRun) -> None:
    for name, score in (("one", 0.8), ("one-worse", 0.1)):
        save(with_relevance(make_run(cases=1), score), REPORTS, name)
    Path("strict.yaml").write_text("gate: {inconclusive: fail, metrics: [relevance]}")
    asked = ("compare", "one", "one-worse", "--config", "strict.yaml")
    assert llmbench(*asked).exit_code == 0
    done = llmbench(*asked, "--fail-on", "regression")
    assert done.exit_code == 1, done.output
    assert "INCONCLUSIVE" in done.stdout


def test_cases_that_one_side_lacks_are_told(make_run: MakeRun) -> None:
    save(make_run(cases=28), REPORTS, "fewer")
    (side,) = compared("accepted", "fewer")["runs"]
    assert [note["kind"] for note in side["gate"]["notes"] if len(note.get("cases") or ()) == 2] == ["missing_in_run"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["accepted", "nonsense"], "no run 'nonsense'"),
        (["accepted", "cut.json"], "cut.json:1: "),
        (["newer.json", "worse"], "upgrade pytest-llmbench"),
        (["accepted", "nan.json"], "NaN is not a number"),
        (["accepted", "twice.json"], "there twice"),
        (["accepted", "worse", "--metrics", "relevanc"], "--metrics: no run has 'relevanc'; there are keywords,"),
        (["accepted", "worse", "--variant", "other"], "--variant other: 0003_worse has base, finetuned"),
        (["accepted", "worse", "--alpha", "2"], "--alpha"),
        (["accepted", "worse", "--margin", "wide", "--fail-on", "regression"], "--margin"),
        (["accepted", "worse", "--margin", "0.05"], "a mere comparison shows every change and has no margin"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_exit_code_2(make_run: MakeRun, words: list[str], message: str) -> None:
    run = make_run(cases=2)
    Path("cut.json").write_text(json.dumps(run)[:-9])
    Path("newer.json").write_text(json.dumps(run | {"schema_version": 2}))
    Path("twice.json").write_text(json.dumps(run | {"results": [*run["results"], run["results"][0]]}))
    run["results"][0]["scores"]["relevance"]["base"] = float("nan")
    Path("nan.json").write_text(json.dumps(run))
    done = llmbench("compare", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
