from __future__ import annotations

from support.plugin_project import Project


def test_epochs_repeat_each_case_as_items_of_their_own(project: Project) -> None:
    collected = project.run("--llmbench-epochs", "2", "--collect-only", "-q", "-k", "dark")
    assert [line for line in collected.outlines if "::" in line] == [
        "test_suite.py::test_case[lights/dark#0]",
        "test_suite.py::test_case[lights/dark#1]",
    ]
    project.run("--llmbench-epochs", "2").assert_outcomes(passed=12)
    assert len(set(project.asked())) == len(project.asked()) == 2 * 12
    assert [row["epoch"] for row in project.report()["results"][:4]] == [0, 1, 0, 1]


def test_one_epoch_of_many_can_be_run_alone(project: Project) -> None:
    project.run("--llmbench-epochs", "3", "test_suite.py::test_case[sound/mute#2]").assert_outcomes(passed=1)
    assert project.asked() == ["base sound/mute#2", "finetuned sound/mute#2"]
