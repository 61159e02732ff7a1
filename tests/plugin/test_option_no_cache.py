from __future__ import annotations

import pytest
from support.plugin_project import Project


def test_a_second_run_asks_nothing_and_says_so(project: Project) -> None:
    project.run()
    (project.path / "asked.log").unlink()
    result = project.run()
    result.assert_outcomes(passed=6)
    assert project.asked() == []
    result.stdout.fnmatch_lines(["12 answers in *, 12 from the cache"])
    assert project.runs() == ["0001", "0002"]


def test_only_what_changed_is_asked_again(project: Project) -> None:
    project.run()
    (project.path / "asked.log").unlink()
    suite = project.path / "prompts/lights.yaml"
    suite.write_text(suite.read_text().replace("il fait noir", "il fait tout noir"))
    project.run()
    assert project.asked() == ["base lights/dark#0", "finetuned lights/dark#0"]


@pytest.mark.parametrize("how", ["option", "setting", "variable"])
def test_without_the_cache_everything_is_asked_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    project.run()
    if how == "variable":
        monkeypatch.setenv("LLMBENCH_NO_CACHE", "1")
    else:
        monkeypatch.setenv("LLMBENCH_GENERATION__CACHE", "true" if how == "option" else "false")
    project.run(*(["--llmbench-no-cache"] if how == "option" else []))
    assert len(project.asked()) == 2 * 12


def test_a_cache_that_is_no_cache_is_one_message_and_exit_code_3(project: Project) -> None:
    project.write("cache/completions.sqlite", "this is no database, and long enough to be taken for one" * 20)
    result = project.run()
    assert result.ret == 3
    result.stdout.fnmatch_lines(["*completions.sqlite cannot be used*--llmbench-no-cache*"])
    result.stdout.no_fnmatch_line("*Traceback*")
