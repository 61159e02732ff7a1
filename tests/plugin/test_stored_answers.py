"""A session whose every answer is stored: it loads no model, and its report is that of the session before."""

from __future__ import annotations

from typing import Any

import pytest
from support.evaluation_project import make_project
from support.plugin_project import Project

CONFTEST = """\
import sys


def pytest_unconfigure(config):
    print("loaded:", *sorted({"torch", "transformers", "peft", "bitsandbytes"} & sys.modules.keys()))
"""
KEPT = ("base_weights_sha256", "adapters", "quantization", "dtype", "device", "soundness", "chat_templates", "threads")


@pytest.fixture
def tiny(project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = make_project(tmp_path_factory.mktemp("tiny"))
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(project.path / "cache"))
    monkeypatch.setenv("LLMBENCH_MODEL__BASE", str(made / "base"))
    monkeypatch.setenv("LLMBENCH_MODEL__ADAPTER", str(made / "adapter"))
    monkeypatch.setenv("LLMBENCH_MODEL__QUANTIZATION", "none")
    monkeypatch.setenv("LLMBENCH_MODEL__DEVICE", "cpu")
    monkeypatch.setenv("LLMBENCH_GENERATION__MAX_NEW_TOKENS", "4")
    project.write("conftest.py", CONFTEST)
    return project


def libraries(project: Project, *options: str) -> set[str]:
    """What a session in a process of its own had imported of what loads a model."""
    result = project.run_alone("-m", "benchmark", "-p", "no:randomly", "-s", *options)
    (line,) = [line for line in result.outlines if "loaded:" in line]
    told = any("every answer is stored: no model is loaded" in line for line in result.outlines)
    assert told == ("torch" not in line)
    return set(line.partition("loaded:")[2].split())


def backend(project: Project) -> dict[str, Any]:
    described: dict[str, Any] = project.report()["metadata"]["backend"]
    return described


def answers(project: Project) -> list[Any]:
    return [
        {variant: (said["text"], said["finish"]) for variant, said in row["completions"].items()}
        for row in project.report()["results"]
    ]


def test_a_session_whose_answers_are_all_stored_loads_no_model(tiny: Project) -> None:
    assert "torch" in libraries(tiny)
    asked, told = answers(tiny), backend(tiny)
    assert libraries(tiny) == set()
    assert answers(tiny) == asked
    assert {name: backend(tiny)[name] for name in KEPT} == {name: told[name] for name in KEPT}
    assert "loaded_at" in backend(tiny)
    assert "loaded_at" not in told

    suite = tiny.path / "prompts/lights.yaml"
    suite.write_text(suite.read_text().replace("il fait noir", "il fait sombre"))
    assert "torch" in libraries(tiny)  # one new question
    assert "loaded_at" not in backend(tiny)
