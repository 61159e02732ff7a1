from __future__ import annotations

from support.plugin_project import CASES, Project


def test_limit_takes_the_first_cases_and_repeats_them_whole(project: Project) -> None:
    project.run("--llmbench-limit", "2", "--llmbench-epochs", "2").assert_outcomes(passed=4)
    assert project.reported() == [CASES[0], CASES[0], CASES[1], CASES[1]]
