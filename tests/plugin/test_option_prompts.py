from __future__ import annotations

import pytest
from support.plugin_project import Project

SUITES = {
    "more.yaml": "category: more\ncases:\n  - {id: one, prompt: un}\n",
    "rows.jsonl": '{"id": "two", "prompt": "deux"}\n{"category": "other", "prompt": "trois"}\n',
    "table.csv": "id,prompt,keywords\nfour,quatre,q|r\n",
}
ITEMS = {"more.yaml": ["more/one"], "rows.jsonl": ["rows/two", "other/2"], "table.csv": ["table/four"]}


@pytest.fixture
def suites(project: Project) -> Project:
    for name, text in SUITES.items():
        project.write(name, text)
    return project


@pytest.mark.parametrize("name", SUITES)
def test_prompts_takes_every_kind_of_file_in_place_of_the_usual_suites(suites: Project, name: str) -> None:
    suites.run("--llmbench-prompts", name).assert_outcomes(passed=len(ITEMS[name]))
    assert suites.reported() == ITEMS[name]


def test_prompts_can_be_given_again_and_again_and_as_folders(suites: Project) -> None:
    result = suites.run(*(f"--llmbench-prompts={path}" for path in ("table.csv", "prompts", "more.yaml")))
    result.assert_outcomes(passed=8)
    assert suites.reported()[0] == "table/four"
    assert suites.reported()[-1] == "more/one"


def test_a_fault_in_a_suite_is_one_message_with_file_and_line(suites: Project) -> None:
    suites.write("more.yaml", "category: more\ncases:\n  - {id: one, promt: un}\n")
    result = suites.run("--llmbench-prompts", "more.yaml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["more.yaml:3:*'promt'*did you mean*prompt*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_llmbench*")


def test_prompts_of_an_empty_variable_of_the_shell_are_refused(suites: Project) -> None:
    result = suites.run("--llmbench-prompts", "")
    assert result.ret != 0
    assert "--llmbench-prompts: benchmark.prompts: the path is empty, " in f"{result.stdout}{result.stderr}"
