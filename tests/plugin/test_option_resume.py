"""A run that was cut short, by whatever, goes on where it was."""

from __future__ import annotations

import signal
import time

import pytest
from support.plugin_project import CASES, CUT_SHORT, Project, asked_once

from pytest_llmbench.runs.folders import at_work

KILL = "before_answer=lambda count: count == 5 and os.kill(os.getpid(), 9)"
CTRL_C = """\
def interrupt(count):
    if count == 5:
        raise KeyboardInterrupt
"""


def test_a_killed_run_resumes_without_asking_twice(project: Project) -> None:
    project.backend(KILL)
    assert project.run_alone("-m", "benchmark", "--llmbench-no-cache", "-p", "no:randomly").ret == -signal.SIGKILL
    assert len(project.asked()) == 5
    assert project.runs() == ["unfinished"]
    project.backend()
    project.run("--llmbench-no-cache", "--llmbench-resume").assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)
    assert project.reported() == list(CASES)
    assert project.runs() == ["0001"]


def test_ctrl_c_leaves_reports_of_what_is_there_and_the_run_resumes(project: Project) -> None:
    project.backend("before_answer=interrupt", more=CTRL_C)
    result = project.run("--llmbench-no-cache")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([CUT_SHORT])
    assert project.reported() == [CASES[0]]
    project.backend()
    project.run("--llmbench-no-cache", "--llmbench-resume").assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)
    assert project.runs() == ["0001"]


def test_ctrl_c_while_the_reports_are_made_is_no_traceback_and_the_run_resumes(project: Project) -> None:
    project.backend(more="def pytest_llmbench_report_sections():\n    raise KeyboardInterrupt\n")
    result = project.run("--junitxml=junit.xml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["interrupted while the reports were made", CUT_SHORT])
    assert (project.path / "junit.xml").read_text().count("<testcase") == len(CASES)
    project.backend()
    project.run("--llmbench-resume").assert_outcomes(passed=6)
    assert project.runs() == ["0001"]


def test_ctrl_c_while_the_model_is_let_go_of_is_no_traceback_either(project: Project) -> None:
    project.backend(more="def interrupted(self):\n    raise KeyboardInterrupt\nParrot.close = interrupted\n")
    result = project.run("--junitxml=junit.xml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["interrupted while the reports were made", "*--llmbench-resume"])
    assert (project.path / "junit.xml").read_text().count("<testcase") == len(CASES)


def test_sessions_of_one_second_and_one_process_id_have_a_run_each(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = time.strftime
    monkeypatch.setattr(time, "strftime", lambda form, *at: "now" if form.startswith("%Y%m%d") else usual(form, *at))
    project.backend("before_answer=interrupt", more=CTRL_C)
    project.run("--llmbench-no-cache")
    project.run("--llmbench-no-cache")
    assert project.runs() == ["unfinished", "unfinished"]


def test_ctrl_c_in_the_first_batch_says_how_to_go_on(project: Project) -> None:
    project.backend("before_answer=interrupt", more=CTRL_C.replace("5", "1"))
    result = project.run("--llmbench-no-cache")
    result.stdout.fnmatch_lines([CUT_SHORT])


def test_a_run_that_is_named_is_resumed_and_a_wrong_name_tells_the_right_ones(project: Project) -> None:
    project.backend("before_answer=interrupt", more=CTRL_C)
    project.run("--llmbench-no-cache")
    project.backend()
    name = next((project.path / "reports/runs").glob("unfinished-*")).name
    result = project.run("--llmbench-resume", "nonsense")
    assert result.ret == 2
    result.stdout.fnmatch_lines([f"*no unfinished run 'nonsense'; unfinished in reports/runs: {name}*"])
    project.run("--llmbench-no-cache", "--llmbench-resume", name).assert_outcomes(passed=6)
    assert sorted(project.asked()) == asked_once(*CASES)


def test_a_run_that_another_session_is_at_work_on_is_left_to_it(project: Project) -> None:
    project.backend("before_answer=interrupt", more=CTRL_C)
    project.run("--llmbench-no-cache")
    project.backend()
    folder = next((project.path / "reports/runs").glob("unfinished-*"))
    with at_work(folder, "another", "gw0"):
        result = project.run("--llmbench-no-cache", "--llmbench-resume")
        assert result.ret == 2
        told = f"*another session is at work on {folder.name}; wait until it ends, or name another unfinished run*"
        result.stdout.fnmatch_lines([told])
    assert len(project.asked()) == 5
    project.run("--llmbench-no-cache", "--llmbench-resume").assert_outcomes(passed=6)
    assert project.runs() == ["0001"]


def test_a_run_is_kept_from_others_until_it_has_its_number(project: Project) -> None:
    project.backend(
        more="def pytest_llmbench_report_sections(document, kind, language):\n"
        "    import pathlib, subprocess, sys\n"
        "    if 'inner' not in os.environ:\n"
        "        told = subprocess.run([sys.executable, '-m', 'pytest', '-m', 'benchmark', '--llmbench-resume'],\n"
        "            env={**os.environ, 'inner': '1'}, capture_output=True, text=True)\n"
        "        pathlib.Path('inner.txt').write_text(f'{told.returncode} {told.stdout}')\n"
    )
    project.run("--llmbench-no-cache", "-n", "1").assert_outcomes(passed=6)
    inner = (project.path / "inner.txt").read_text()
    assert inner.startswith("2 ")
    assert "another session is at work on unfinished-" in inner
    assert project.runs() == ["0001"]


def test_a_fault_of_a_users_backend_is_told_by_each_item_and_may_pass(project: Project) -> None:
    project.write(
        "conftest.py",
        "from parrot import Parrot\n\ntried = []\n\n"
        "def pytest_llmbench_backend(settings):\n"
        "    tried.append(1)\n"
        "    if len(tried) < 3:\n        raise ConnectionError('no line')\n"
        "    return Parrot()\n",
    )
    result = project.run("--llmbench-no-cache")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*ConnectionError: no line", "*ConnectionError: no line"])


def test_with_nothing_to_resume_a_new_run_is_announced_and_started(project: Project) -> None:
    result = project.run("--llmbench-resume")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*nothing to resume in reports/runs: a new run was started"])
