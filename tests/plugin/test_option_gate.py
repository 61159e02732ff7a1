"""`--llmbench-gate`, `--llmbench-compare`, `--llmbench-margin`, `--llmbench-alpha`: what fails a session, and how."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import Any

import pytest
from support.command_line import llmbench
from support.plugin_project import Project

from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.monitoring import monitor

CASES = [f"c{number}" for number in range(12)]
FORGETS = "knows=lambda case: int(case.id[1:]) >= 8"
GATE = ("--llmbench-no-cache", "--llmbench-gate=regression", "--llmbench-compare")


@pytest.fixture
def drilled(project: Project) -> Project:
    """Twelve cases of which the fine-tune knows the keyword, and a first run saved as `accepted`."""
    for name in ("lights", "sound"):
        (project.path / f"prompts/{name}.yaml").unlink()
    cases = "\n".join(f"  - {{id: {case}, prompt: monte le son {case}, keywords: [son]}}" for case in CASES)
    project.write("prompts/drill.yaml", f"category: drill\ncases:\n{cases}\n")
    assert project.run("--llmbench-save=accepted").ret == 0
    return project


def gate(project: Project) -> Any:
    return json.loads((project.path / "reports/benchmark.json").read_text())["gate"]


def test_a_regression_fails_the_session_with_one_section_that_names_what_fell(drilled: Project) -> None:
    drilled.backend(FORGETS)
    result = drilled.run(*GATE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=12, failed=1)
    text = result.stdout.str()
    section = text[text.index("llmbench gate") :]
    assert "Keywords found (share) of finetuned" in section
    assert "drill/c0" in section
    assert "1.000 -> 0.333" in section
    assert "Traceback" not in text
    assert gate(drilled)["outcome"] == "fail"
    assert gate(drilled)["baseline"]["name"] == "0001_accepted"


def test_a_regression_is_a_failure_in_junit_xml(drilled: Project) -> None:
    drilled.backend(FORGETS)
    drilled.run(*GATE, "--junit-xml=junit.xml")
    suite = ET.parse(drilled.path / "junit.xml").getroot().find("testsuite")  # noqa: S314  # written by pytest
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("13", "1")
    failure = suite.find("testcase[@name='gate[regression]']/failure")
    assert failure is not None
    assert "Keywords found (share) of finetuned" in (failure.text or "")


def test_the_same_answers_pass_and_say_so(drilled: Project) -> None:
    result = drilled.run(*GATE, "--junit-xml=junit.xml")
    assert result.ret == 0
    assert gate(drilled)["outcome"] == "pass"
    suite = ET.parse(drilled.path / "junit.xml").getroot().find("testsuite")  # noqa: S314  # written by pytest
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("13", "0")


def test_a_gate_of_the_first_cases_does_not_pass(drilled: Project) -> None:
    result = drilled.run(*GATE, "accepted", "--llmbench-limit=6")
    text = result.stdout.str()
    assert result.ret == 0
    assert (gate(drilled)["outcome"], gate(drilled)["because"]["kind"]) == ("inconclusive", "limited")
    assert "INCONCLUSIVE: regression gate against baseline 0001_accepted" in text
    assert "PASS" not in text
    assert drilled.run(*GATE, "accepted", "--llmbench-limit=12").ret == 0
    assert gate(drilled)["outcome"] == "pass"


def test_a_selection_is_judged_and_what_it_lacks_is_noted(drilled: Project) -> None:
    assert drilled.run(*GATE, "accepted", "-k", "c0 or c1").ret == 0
    assert gate(drilled)["outcome"] == "pass"
    assert [note["kind"] for note in gate(drilled)["notes"]] == ["missing_in_run"]


def test_what_fell_on_the_first_cases_fails_and_no_word_says_otherwise(drilled: Project) -> None:
    drilled.backend(FORGETS)
    result = drilled.run(*GATE, "accepted", "--llmbench-limit=8")
    text = " ".join(result.stdout.str().split())
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "FAIL: regression gate" in text
    assert "A part of the cases has no verdict" not in text
    assert "A part of the cases can show that something got worse" in text


def test_a_fall_of_a_few_cases_is_inconclusive_and_says_what_would_settle_it(drilled: Project) -> None:
    drilled.backend("knows=lambda case: int(case.id[1:]) >= 2")
    result = drilled.run(*GATE)
    assert result.ret == 0
    verdict = gate(drilled)["verdicts"][0]
    assert (gate(drilled)["outcome"], verdict["outcome"]) == ("inconclusive", "inconclusive")
    assert verdict["needed_cases"] > 12
    assert str(verdict["needed_cases"]) in result.stdout.str()


def test_a_fall_within_the_margin_does_not_fail(drilled: Project) -> None:
    drilled.backend(FORGETS)
    assert drilled.run(*GATE, "--llmbench-margin=0.9").ret == 0
    assert drilled.run(*GATE, "--llmbench-compare=accepted", "--llmbench-alpha=0.0001").ret == 0


def test_comparing_alone_shows_the_change_and_fails_nothing(drilled: Project) -> None:
    drilled.backend(FORGETS)
    result = drilled.run("--llmbench-no-cache", "--llmbench-compare=accepted")
    assert result.ret == 0
    assert gate(drilled)["kind"] == "compare"
    result.stdout.fnmatch_lines(["*Keywords found*1.000 -> 0.333*"])


def test_improvement_must_be_shown(drilled: Project) -> None:
    assert drilled.run("--llmbench-gate=improvement").ret == 0
    assert gate(drilled)["against"] == "base"
    drilled.backend("knows=lambda case: case.id == 'c0'")
    assert drilled.run("--llmbench-gate=improvement", "--llmbench-no-cache").ret == pytest.ExitCode.TESTS_FAILED
    assert gate(drilled)["outcome"] == "inconclusive"


def test_workers_share_one_gate(drilled: Project) -> None:
    drilled.backend(FORGETS)
    result = drilled.run_alone("-m", "benchmark", *GATE, "-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=12, failed=1)


def test_cases_that_one_side_lacks_are_told(drilled: Project) -> None:
    result = drilled.run(*GATE, "-k", "not c3")
    result.stdout.fnmatch_lines(["*1 case of the baseline not in this run*", "*compared: drill/c3"])
    assert [note["kind"] for note in gate(drilled)["notes"]] == ["missing_in_run"]


def test_another_system_prompt_is_told(drilled: Project) -> None:
    suite = drilled.path / "prompts/drill.yaml"
    suite.write_text(suite.read_text().replace("category: drill", "category: drill\nsystem: Sois bref."))
    drilled.run(*GATE)
    assert [note["kind"] for note in gate(drilled)["notes"]] == ["changed_prompt"]


def test_a_missing_baseline_ends_the_session_before_anything_is_asked_or_warns_when_told_to(project: Project) -> None:
    result = project.run("--llmbench-gate=regression", "--llmbench-compare=accepted")
    assert result.ret == 2
    assert "no run 'accepted'" in result.stdout.str() + result.stderr.str()
    assert project.asked() == []
    project.write("configs/llmbench.yaml", "output: {html: false, png: false}\ngate: {missing_baseline: warn}\n")
    result = project.run("--llmbench-gate=regression", "--llmbench-compare=accepted")
    assert result.ret == 0
    assert gate(project)["notes"][0]["kind"] == "no_baseline"
    assert "fine-tunes are compared with their base alone" in " ".join(result.stdout.str().split())


@pytest.mark.parametrize(
    ("gate_section", "told"),
    [
        ("{metrics: [keywrds]}", "'keywrds' is no metric; did you mean 'keywords'"),
        ("{kind: regression, metrics: [latency_s], baseline: accepted}", "latency_s cannot be judged"),
        ("{kind: regression, baseline: other.json}", "none of the 12 selected cases"),
    ],
)
def test_a_gate_that_could_judge_nothing_ends_the_session_at_collection(
    drilled: Project, gate_section: str, told: str
) -> None:
    run = next((drilled.path / "reports/runs").glob("0001_*/run.json"))
    drilled.write("other.json", run.read_text().replace("drill/", "other/"))
    off = "metrics: {latency_s: false}\n"
    drilled.write("configs/llmbench.yaml", f"output: {{html: false, png: false}}\n{off}gate: {gate_section}\n")
    asked = drilled.asked()
    result = drilled.run("--llmbench-no-cache")
    assert result.ret == 2
    assert told in result.stdout.str() + result.stderr.str()
    assert drilled.asked() == asked


def test_a_run_cut_short_is_not_judged(drilled: Project) -> None:
    suite = drilled.path / "prompts/drill.yaml"
    suite.write_text(suite.read_text().replace("{id: c3,", "{id: c3, expect: {keywords: true},"))
    drilled.backend(FORGETS)
    assert drilled.run(*GATE, "-x").ret == pytest.ExitCode.TESTS_FAILED
    result = drilled.run(*GATE, "-x")
    result.stdout.fnmatch_lines(["*the run was cut short: the gate has judged nothing"])


_MARKS = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if any(name in item.name for name in ("/c3]", "/c3#0]", "/9-12]")):
            item.add_marker({mark})
"""


_FIXTURE_SKIPS = """\
import pytest


@pytest.fixture
def fit(llmbench_case):
    if llmbench_case.id == "c3":
        pytest.skip("not here")


def test_case(fit, llmbench_answers):
    pass
"""
_BODY_SKIPS = """\
import pytest


def test_case(llmbench_case, request):
    if llmbench_case.id == "c3":
        pytest.skip("as it runs")
    request.getfixturevalue("llmbench_answers")
"""


@pytest.mark.parametrize("mark", ["pytest.mark.skip", "pytest.mark.xfail(run=False)"])
@pytest.mark.parametrize(
    ("options", "judged"),
    [((), 11), (("-n", "2"), 11), (("--llmbench-epochs=2",), 12), (("--llmbench-chunk=4",), 8)],
    ids=["items", "workers", "epochs", "chunks"],
)
def test_cases_that_are_skipped_are_left_out_and_the_others_judged(
    drilled: Project, mark: str, options: tuple[str, ...], judged: int
) -> None:
    drilled.backend(FORGETS, more=_MARKS.format(mark=mark))
    result = drilled.run(*GATE, *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert gate(drilled)["outcome"] == "fail"
    assert drilled.report()["statistics"]["cases"] == judged
    assert drilled.runs() == ["0001", "0002"]


@pytest.mark.parametrize("options", [(), ("--llmbench-chunk=4",), ("--llmbench-chunk=4", "-n", "2")])
@pytest.mark.parametrize("suite", [_FIXTURE_SKIPS, _BODY_SKIPS], ids=["fixture", "body"])
def test_cases_that_are_skipped_before_they_ask_are_left_out_in_items_and_in_chunks(
    drilled: Project, options: tuple[str, ...], suite: str
) -> None:
    drilled.write("test_suite.py", suite)
    drilled.run_plain("test_suite.py", *GATE, *options)
    assert drilled.report()["statistics"]["cases"] == 11
    assert gate(drilled)["outcome"] in {"pass", "fail", "inconclusive"}
    assert drilled.runs() == ["0001", "0002"]


def test_a_session_that_a_failure_stopped_is_no_whole_run_whatever_was_skipped_before(drilled: Project) -> None:
    drilled.write(
        "test_suite.py",
        "import pytest\n\n"
        "def test_few(llmbench_case, request):\n"
        "    if llmbench_case.id != 'c11':\n        pytest.skip('not this one')\n"
        "    request.getfixturevalue('llmbench_answers')\n"
        "    assert False\n\n"
        "def test_all(llmbench_answers):\n    pass\n",
    )
    result = drilled.run_plain("test_suite.py", "-x", *GATE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the run was cut short: the gate has judged nothing"])


def test_a_gate_that_could_not_judge_leaves_no_session_green(drilled: Project) -> None:
    drilled.write(
        "test_suite.py",
        "def test_case(llmbench_case, request):\n"
        "    if llmbench_case.id != 'c3':\n        request.getfixturevalue('llmbench_answers')\n",
    )
    result = drilled.run_plain("test_suite.py", *GATE)
    result.assert_outcomes(passed=12)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the run was cut short: the gate has judged nothing"])
    assert drilled.run_plain("--llmbench-no-cache", "test_suite.py").ret == 0


def test_github_gets_annotations_and_a_summary(drilled: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    drilled.backend(FORGETS)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(drilled.path / "summary.md"))
    result = drilled.run(*GATE)
    result.stdout.fnmatch_lines(["::error*Keywords found (share)*"])
    assert "Keywords found" in (drilled.path / "summary.md").read_text(encoding="utf-8")


def test_runs_that_repeat_remembered_answers_are_watched_once(
    drilled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(drilled.path)
    for seed in ("8", "8", "8", "9"):
        drilled.run("--llmbench-save=nightly", f"--llmbench-seed={seed}")
    found = json.loads(
        llmbench("monitor", "accepted", "2", "3", "4", "5", "--metrics", "keywords", "--json").stdout,
    )
    assert [point["run"] for point in found["series"][0]["points"]] == ["0002_nightly", "0005_nightly"]
    assert [run["not_comparable"] is None for run in found["runs"]] == [True, False, False, True]


def test_the_drift_is_looked_at_since_the_baseline_however_few_runs_the_trend_shows(
    drilled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def spied(baseline: Comparable, runs: Iterable[Comparable], **asked: Any) -> Any:
        known = list(runs)
        looked_at.extend(run.name for run in known)
        return monitor(baseline, known, **asked)

    accepted = drilled.path / "reports/runs/0001_accepted/run.json"
    document = json.loads(accepted.read_text())
    document["metadata"]["timestamp"] = "2026-02-10T10:00:00+00:00"  # no run of the same second
    accepted.write_text(json.dumps(document))
    for _ in range(2):
        drilled.run("--llmbench-compare", "accepted")
    monkeypatch.setattr("pytest_llmbench.plugin.benchmark_gathering._TREND_RUNS", 1)
    monkeypatch.setattr("pytest_llmbench.runs.monitoring.monitor", spied)
    drilled.write("configs/llmbench.yaml", "output: {html: false}\n")
    drilled.run("--llmbench-compare", "accepted")
    assert looked_at == ["0002_run", "0003_run", "this run"]
    assert (drilled.path / "reports/benchmark-trend.png").exists()
