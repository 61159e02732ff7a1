"""What other plugins and `conftest.py` files can add."""

from __future__ import annotations

import pytest
from support.plugin_project import Project

METRICS = """\
def pytest_llmbench_metrics(registry):
    registry.add("words", lambda case, completion: len(completion.text.split()))
    registry.add("longer", lambda case, base, completion: len(completion.text) > len(base.text), pair=True)
"""


def test_a_metric_of_conftest_is_scored_reported_and_can_be_expected(project: Project) -> None:
    project.backend(more=METRICS)
    project.write("own.yaml", "category: own\ncases:\n  - {id: a, prompt: un deux, expect: {words: 2, longer: 0}}\n")
    project.run("--llmbench-prompts", "own.yaml").assert_outcomes(passed=1)
    scores = project.report()["results"][0]["scores"]
    assert scores["words"] == {"base": 4, "finetuned": 2}
    assert scores["longer"] == {"finetuned": 0}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("registry.add('keywords', lambda case, completion: 1)", "*already a metric 'keywords'*"),
        ("registry.add('one', lambda completion: 1)", "*metric 'one': it is called with (case, completion)*"),
        ("registry.add('text', lambda case, completion: 'good')", "*metric 'text'*returned 'good' (str)*"),
    ],
)
def test_a_metric_that_cannot_be_used_is_one_message(project: Project, metric: str, message: str) -> None:
    project.backend(more=f"def pytest_llmbench_metrics(registry):\n    {metric}\n")
    result = project.run()
    assert result.ret == 2
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_metric_that_raises_shows_its_author_where(project: Project) -> None:
    project.backend(more="def pytest_llmbench_metrics(registry):\n    registry.add('odd', lambda c, a: 1 / 0)\n")
    result = project.run("-k", "dark")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*ZeroDivisionError*", "E*metric 'odd', case lights/dark, variant 'base'"])


def test_the_report_hook_gets_the_run_and_its_folder_once(project: Project) -> None:
    project.backend(
        more="def pytest_llmbench_report(run, report_dir):\n"
        "    print('HOOK', len(run.results), run.variants, (report_dir / 'benchmark.json').is_file())\n"
    )
    result = project.run("-s")
    assert [line.partition("HOOK")[2] for line in result.outlines if "HOOK" in line] == [
        " 6 ('base', 'finetuned') True"
    ]
