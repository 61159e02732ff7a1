"""`--llmbench-adapter`: one fine-tune or several, over one base."""

from __future__ import annotations

from typing import Any

import pytest
from support.plugin_project import Project

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
SUITE = "\n".join(f"  - {{id: c{number}, prompt: monte le son, keywords: [son]}}" for number in range(12))
BACKEND = """\
from pathlib import Path

from support.parrot import Parrot


class Several(Parrot):
    def __init__(self, adapters):
        super().__init__()
        self.variants = ("base", *(Path(adapter).name for adapter in adapters))

    def complete(self, cases, variant):
        yield from Parrot(knows=lambda case: variant != "forgetful").complete(cases, variant)


def pytest_llmbench_backend(settings):
    return Several(settings.model.adapters)
"""


@pytest.fixture
def several(project: Project) -> Project:
    """Twelve cases, and a backend with a fine-tune for each adapter that is named; `forgetful` knows nothing."""
    for name in ("lights", "sound"):
        (project.path / f"prompts/{name}.yaml").unlink()
    project.write("prompts/drill.yaml", f"category: drill\ncases:\n{SUITE}\n")
    project.write("conftest.py", BACKEND)
    return project


def named(*adapters: str) -> list[str]:
    return [f"--llmbench-adapter=adapters/{adapter}" for adapter in adapters]


def variants(project: Project) -> Any:
    return project.report()["metadata"]["variants"]


def outcomes(project: Project) -> dict[str, str]:
    """The gate's verdict on the keywords of each fine-tune."""
    verdicts = project.report()["gate"]["verdicts"]
    return {verdict["variant"]: verdict["outcome"] for verdict in verdicts if verdict["metric"] == "keywords"}


def test_each_adapter_has_its_own_answers_scores_and_verdicts_and_the_base_is_asked_once(several: Project) -> None:
    result = several.run(*named("learned", "forgetful"), "--llmbench-gate=improvement")
    assert variants(several) == ["base", "learned", "forgetful"]
    assert outcomes(several) == {"learned": "pass", "forgetful": "inconclusive"}
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert sorted(several.asked()) == sorted(
        f"{variant} drill/c{number}#0" for variant in ("base", "learned", "forgetful") for number in range(12)
    )
    result.stdout.fnmatch_lines(["base -> learned", "base -> forgetful"])


def test_each_adapter_is_held_against_its_namesake_in_the_baseline(several: Project) -> None:
    several.run(*named("learned", "forgetful"), "--llmbench-save=accepted")
    result = several.run(*named("forgetful", "new"), "--llmbench-gate=regression", "--llmbench-compare=accepted")
    assert outcomes(several) == {"forgetful": "pass"}
    notes = {note["kind"]: note["message"] for note in several.report()["gate"]["notes"]}
    assert "new is not in the baseline" in notes["missing_in_baseline"]
    assert "learned is not in the run" in notes["missing_in_run"]
    assert result.ret == 0


def test_adapters_are_listed_in_the_ini_file_the_environment_or_the_settings_file(
    several: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    several.write(
        "configs/llmbench.yaml", "output: {html: false, png: false}\nmodel: {adapter: [adapters/a, adapters/b]}\n"
    )
    several.run()
    assert variants(several) == ["base", "a", "b"]
    several.write("pytest.ini", f"{INI}llmbench_adapter = adapters/c adapters/d\n")
    several.run()
    assert variants(several) == ["base", "c", "d"]
    monkeypatch.setenv("LLMBENCH_ADAPTER", '["adapters/e", "adapters/f"]')
    several.run()
    assert variants(several) == ["base", "e", "f"]
    several.run(*named("g"))
    assert variants(several) == ["base", "g"]


@pytest.mark.parametrize("chosen", [["adapters/a", "adapters/a"], ["none", "adapters/a"], ["adapters/a", "none"]])
def test_an_adapter_named_twice_or_beside_none_is_one_message_and_exit_code_2(
    several: Project, chosen: list[str]
) -> None:
    result = several.run(*(f"--llmbench-adapter={adapter}" for adapter in chosen))
    assert result.ret == 2
    result.stdout.fnmatch_lines(["*--llmbench-adapter: model.adapter: *name each adapter once*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert several.asked() == []
