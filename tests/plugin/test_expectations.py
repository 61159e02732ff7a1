"""`expect:` in a suite makes a bad answer a failure that explains itself."""

from __future__ import annotations

import pytest
from support.plugin_project import Project

SUITE = """\
category: strict
cases:
  - {id: good, prompt: monte le son, keywords: [son], expect: {keywords: true, keyword: 0.5}}
  - {id: bad, prompt: baisse, keywords: [volume, son], tool: volume_up, expect: {keywords: 0.5, tool: true}}
  - {id: unscored, prompt: chut, expect: {keywords: 0.1}}
"""


def test_a_bad_answer_fails_with_prompt_answers_and_scores_and_nothing_of_the_plugin(project: Project) -> None:
    project.write("strict.yaml", SUITE)
    result = project.run("--llmbench-prompts", "strict.yaml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E  *strict/bad: keywords of finetuned is 0, expected at least 0.5; tool_accuracy of finetuned is 0, *",
            "E *prompt: baisse",
            "E *tool expected: volume_up",
            "E *base answered: 'je ne sais pas' (stop)",
            "E *  scores: *keywords=0*",
            "E *finetuned answered: 'baisse' (stop)",
            "E *written at strict.yaml:4",
            "E  *strict/unscored: keywords of finetuned is unscored, expected at least 0.1",
        ]
    )
    result.stdout.no_fnmatch_line("*benchmark/main_job.py*")
    assert [row["outcome"] for row in project.report()["results"]] == ["passed", "failed", "failed"]


@pytest.mark.parametrize("expected", ["politness", "tool"])
def test_an_expectation_that_nothing_judges_is_refused_before_anything_is_asked(
    project: Project, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_METRICS__TOOL_ACCURACY", "false")
    project.write("strict.yaml", f"category: strict\ncases:\n  - {{id: a, prompt: x, expect: {{{expected}: true}}}}\n")
    result = project.run("--llmbench-prompts", "strict.yaml")
    assert result.ret == 2
    result.stdout.fnmatch_lines([f"*strict.yaml:3: strict/a expects '{expected}', *choose from keywords, *"])
    assert project.asked() == []
