"""Who wins when a setting is given in several places, and how a wrong one is told."""

from __future__ import annotations

import pytest
from support.plugin_project import Project

SEED = """\
def test_seed(llmbench_settings):
    print("seed", llmbench_settings.generation.seed, llmbench_settings.output.report_dir)
"""
INI = "asyncio_default_fixture_loop_scope = function\n"


def test_command_line_over_environment_over_ini_over_file_over_default(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("test_seed.py", SEED)

    def seed(*options: str) -> str:
        result = project.run_plain("-s", "test_seed.py", *options)
        return next(line.partition("seed ")[2].split()[0] for line in result.outlines if " seed " in line)

    assert seed() == "42"
    project.write("configs/llmbench.yaml", "generation: {seed: 1}\n")
    assert seed() == "1"
    project.write("other.json", '{"generation": {"seed": 2}}')
    assert seed("--llmbench-config", "other.json") == "2"
    project.write("pytest.ini", f"[pytest]\n{INI}llmbench_config = other.json\n")
    assert seed() == "2"
    project.write("pytest.ini", f"[pytest]\n{INI}llmbench_seed = 3\n")
    assert seed() == "3"
    monkeypatch.setenv("LLMBENCH_SEED", "4")
    assert seed() == "4"
    assert seed("--llmbench-seed", "5") == "5"


SHOWN = """\
def test_shown(llmbench_settings):
    given = llmbench_settings
    print("shown", given.generation.seed, *given.model.adapters, given.gate.confirm)
"""
IN_INI = "llmbench_seed = 3\nllmbench_adapter = from-ini\nllmbench_confirm = true\n"
FROM_INI, FROM_ENVIRONMENT = "3 from-ini True", "4 elsewhere False"


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"LLMBENCH_SEED": "4", "LLMBENCH_ADAPTER": "elsewhere", "LLMBENCH_CONFIRM": "false"}, FROM_ENVIRONMENT),
        (
            {
                "LLMBENCH_GENERATION__SEED": "4",
                "LLMBENCH_MODEL__ADAPTER": "elsewhere",
                "LLMBENCH_GATE__CONFIRM": "false",
            },
            FROM_ENVIRONMENT,
        ),
        ({"LLMBENCH_SEED": "", "LLMBENCH_ADAPTER": "", "LLMBENCH_CONFIRM": ""}, FROM_INI),
        ({"LLMBENCH_SEED": " ", "LLMBENCH_MODEL__ADAPTER": " ", "LLMBENCH_GATE__CONFIRM": " "}, FROM_INI),
    ],
    ids=["short", "long", "empty", "blank"],
)
def test_the_environment_wins_over_the_ini_file_by_both_names_and_an_empty_variable_says_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], shown: str
) -> None:
    project.write("test_shown.py", SHOWN)
    project.write("pytest.ini", f"[pytest]\n{INI}{IN_INI}")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    project.run_plain("-s", "test_shown.py").stdout.fnmatch_lines([f"*shown {shown}*"])


def test_suites_and_cache_can_be_chosen_in_the_ini_file(project: Project) -> None:
    ini = "llmbench_prompts = prompts/sound.yaml prompts/lights.yaml\nllmbench_no_cache = true\nllmbench_save = mine\n"
    project.write("pytest.ini", f"[pytest]\n{INI}{ini}")
    project.run()
    project.run()
    assert project.reported()[0] == "sound/louder"
    assert len(project.asked()) == 2 * 12
    assert sorted(path.name for path in (project.path / "reports/runs").glob("0*")) == ["0001_mine", "0002_mine"]


def test_the_environment_switches_the_cache_on_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("pytest.ini", f"[pytest]\n{INI}llmbench_no_cache = true\n")
    monkeypatch.setenv("LLMBENCH_GENERATION__CACHE", "true")
    project.run()
    project.run()
    assert len(project.asked()) == 12


def test_a_saved_run_is_named_on_the_command_line_or_in_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("--llmbench-save", "first try")
    monkeypatch.setenv("LLMBENCH_SAVE", "second")
    project.run()
    names = sorted(path.name for path in (project.path / "reports/runs").glob("0*"))
    assert names == ["0001_first-try", "0002_second"]


WRONG = {
    "option": (["--llmbench-epochs", "zero"], {}, "", "--llmbench-epochs: generation.epochs:*zero*"),
    "environment": ([], {"LLMBENCH_EPOCHS": "0"}, "", "LLMBENCH_EPOCHS: generation.epochs:*from 1*"),
    "unknown variable": ([], {"LLMBENCH_EPOCH": "2"}, "", "LLMBENCH_EPOCH: unknown variable*LLMBENCH_EPOCHS*"),
    "unknown key": ([], {}, "generation: {sed: 2}\n", "configs/llmbench.yaml:1:*unknown key 'sed'*seed*"),
    "missing file": (["--llmbench-config", "no.yaml"], {}, "", "*no.yaml*"),
    "no such category": ([], {"LLMBENCH_BENCHMARK__CATEGORIES": "light"}, "", "benchmark.categories:*lights*"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_one_message_and_exit_code_2(
    project: Project, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    options, environment, settings, message = WRONG[wrong]
    project.write("configs/llmbench.yaml", settings)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = project.run(*options)
    assert result.ret == 2
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_llmbench*")
    assert project.asked() == []


def test_a_wrong_setting_is_the_same_message_to_a_test_without_cases(project: Project) -> None:
    project.write("test_suite.py", SEED)
    result = project.run_plain("--llmbench-epochs", "zero")
    assert result.ret == 2
    (project.path / "configs/llmbench.yaml").unlink()
    result.stdout.fnmatch_lines(["!* --llmbench-epochs: generation.epochs:*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("ini", [f"[pytest]\n{INI}", f"[pytest]\n{INI}llmbench_seed = 3\n", None])
def test_a_wrong_value_of_pytests_own_override_names_it(project: Project, ini: str | None) -> None:
    project.write("test_seed.py", SEED)
    if ini is None:
        (project.path / "pytest.ini").unlink(missing_ok=True)
    else:
        project.write("pytest.ini", ini)
    result = project.run_plain("test_seed.py", "-o", "llmbench_seed=abc")
    assert '-o llmbench_seed: generation.seed: "abc" is not valid' in f"{result.stdout}{result.stderr}"


def test_a_wrong_value_of_the_ini_file_names_the_file(project: Project) -> None:
    project.write("test_seed.py", SEED)
    project.write("pytest.ini", f"[pytest]\n{INI}llmbench_seed = abc\n")
    result = project.run_plain("test_seed.py", "-o", "console_output_style=count")
    assert 'pytest.ini: llmbench_seed: generation.seed: "abc" is not valid' in f"{result.stdout}{result.stderr}"
