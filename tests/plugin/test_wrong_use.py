"""What a person wrote wrong is one message and exit code 2, before anything is loaded."""

from __future__ import annotations

import pytest
from support.plugin_project import Project, assert_one_message

NO_BACKEND = "def pytest_llmbench_metrics(registry):\n    registry.add('brevity', lambda case, completion: 1)\n"
WRONG = {
    ("--llmbench-base", "smolm2-135m"): "*unknown model 'smolm2-135m'; did you mean 'smollm2-135m'*",
    ("--llmbench-adapter", "elsewhere/mine"): "*no such adapter folder: elsewhere/mine; did you mean 'adapters/mine'*",
    ("--llmbench-server", "localhost:8000"): "*'localhost:8000' is no URL; write one like http*",
    ("--llmbench-adapter", "nowhere"): "*no such adapter folder: nowhere; choose from adapters/mine*",
}


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_a_base_or_an_adapter_that_is_not_there(project: Project, options: tuple[str, str], workers: str) -> None:
    project.write("conftest.py", NO_BACKEND)
    (project.path / "adapters" / "mine").mkdir(parents=True)
    assert_one_message(project.run(*options, "-n", workers), WRONG[options], 2)
    assert project.runs() == []


def test_a_session_that_would_judge_the_demo_in_the_projects_place_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")
    settings, prompts = ("--llmbench-config", "../configs/llmbench.yaml"), ("--llmbench-prompts", "../prompts")
    left = {(): "configs/llmbench.yaml", settings: "prompts", (*settings, *prompts): "prompts/tools.yaml"}
    for options, path in left.items():
        told = f"*not read from {project.path}/below: {project.path}/{path}*run pytest in {project.path}*"
        assert_one_message(project.run("..", *options), told, 2)
    assert project.asked() == []


def test_an_expectation_that_no_metric_gives_is_refused_at_collection(project: Project) -> None:
    suite = project.path / "prompts" / "lights.yaml"
    suite.write_text(suite.read_text().replace("{id: dark,", "{id: dark, expect: {brevitty: 1, tool: 1},"))
    project.backend(more=NO_BACKEND)
    message = "*lights.yaml:5: lights/dark expects 'brevitty', which no metric*did you mean 'brevity'?*"
    assert_one_message(project.run("--collect-only"), message, 2)
    suite.write_text(suite.read_text().replace("brevitty", "brevity"))
    assert project.run("--collect-only").ret == 0


OWN = {
    "a fixture of conftest.py": ("conftest.py", "import pytest\n@pytest.fixture\ndef case():\n    return 3\n"),
    "a fixture of a plugin": ("own_plugin.py", "import pytest\n@pytest.fixture\ndef case():\n    return 3\n"),
}


@pytest.mark.parametrize("own", OWN)
def test_a_case_of_ones_own_is_told_where_ours_was_needed(
    project: Project, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project.path)
    project.write(*OWN[own])
    project.write("test_suite.py", "def test_own(case):\n    assert case == 3\n\ndef test_ours(answers):\n    1 / 0\n")
    plugin = ("-p", "own_plugin") if "plugin" in own else ()
    result = project.run_plain("test_suite.py", *plugin)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*'answers' of pytest-llmbench answers a case*'case' is one of your own here, a int: 3"]
    )
    result.stdout.fnmatch_lines(["*write llmbench_case and llmbench_answers, names that nobody else has"])


def test_the_long_names_do_not_mind_what_else_there_is(project: Project) -> None:
    project.backend(more=OWN["a fixture of conftest.py"][1])
    project.write(
        "test_suite.py",
        "def test_both(case, llmbench_case, llmbench_answers):\n"
        "    assert case == 3 and llmbench_answers.case is llmbench_case\n",
    )
    project.run().assert_outcomes(passed=6)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_name_that_no_folder_can_have_is_refused_before_anything_is_asked(project: Project, workers: str) -> None:
    project.backend()
    told = "*the name of a run has at most 200 bytes, and éééééééééééééééééééé… has 202; give a shorter one*"
    assert_one_message(project.run("--llmbench-save", "é" * 101, "-n", workers), told, 2)
    assert project.runs() == []
    project.run("--llmbench-save", "é" * 100).assert_outcomes(passed=6)
