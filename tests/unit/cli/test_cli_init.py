"""`llmbench init`: a project to start from, and no file of the user's lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import llmbench

from pytest_llmbench import starter
from pytest_llmbench.settings import Settings, load_settings

FILES = {
    "configs/llmbench.yaml",
    "prompts/tool_routing.yaml",
    "prompts/tools.yaml",
    "prompts/voice_commands.yaml",
    "prompts/voice_corrections.yaml",
    "tests/suites/test_autotune.py",
    "tests/suites/test_finetune.py",
    "tests/suites/test_benchmark.py",
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that carries its starter files, as a wheel does, with a demo adapter among them."""
    source, package = starter.starter_folder(), tmp_path_factory.mktemp("site-packages") / "pytest_llmbench"
    for name in FILES:
        carried = package / "starter" / name
        carried.parent.mkdir(parents=True, exist_ok=True)
        carried.write_bytes((source / name).read_bytes())
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        carried = package / "starter/adapters/demo" / name
        carried.parent.mkdir(parents=True, exist_ok=True)
        carried.write_bytes(b"\x00\xff")
    monkeypatch.setattr(starter, "_PACKAGE", package)
    return package / "starter"


def test_a_new_project_gets_the_files_to_edit_and_is_told_what_to_type(project: Path) -> None:
    done = llmbench("init", "mine")
    assert done.exit_code == 0
    assert files_in(project / "mine") == FILES
    assert all(str(Path("mine") / name) in done.stdout for name in FILES)
    assert [line.split("  ")[1] for line in done.stdout.splitlines() if line.startswith("  ")] == [
        "cd mine",
        "llmbench check",
        "pytest -m benchmark",
    ]


def test_a_wheel_gives_the_same_files_and_on_request_its_demo(project: Path, installed: Path) -> None:
    assert llmbench("init").exit_code == 0
    assert files_in(project) == FILES
    assert llmbench("init", "--with-demo", "other").exit_code == 0
    assert files_in(project / "other") == files_in(installed)
    assert (project / "other/adapters/demo/adapter_model.safetensors").read_bytes() == b"\x00\xff"


def test_a_second_time_names_what_is_there_and_writes_nothing(project: Path) -> None:
    for name in ("prompts/tools.yaml", "configs/llmbench.yaml"):
        (project / name).parent.mkdir()
        (project / name).write_text("mine")
    done = llmbench("init")
    assert done.exit_code == 2
    assert all(name in done.stderr for name in ("tools.yaml", "llmbench.yaml", "--force"))
    assert "voice_commands.yaml" not in done.stderr
    assert files_in(project) == {"prompts/tools.yaml", "configs/llmbench.yaml"}
    assert (project / "prompts/tools.yaml").read_text() == "mine"


def test_force_replaces_the_starter_files_and_no_others(project: Path) -> None:
    llmbench("init")
    (project / "prompts/tools.yaml").write_text("mine")
    (project / "prompts/my_suite.yaml").write_text("mine")
    assert llmbench("init", "--force").exit_code == 0
    assert (project / "prompts/tools.yaml").read_text() != "mine"
    assert (project / "prompts/my_suite.yaml").read_text() == "mine"


@pytest.mark.usefixtures("installed")
def test_a_demo_that_the_installation_lacks_is_told_before_anything_is_written(project: Path, installed: Path) -> None:
    for path in (installed / "adapters/demo").iterdir():
        path.unlink()
    done = llmbench("init", "--with-demo")
    assert (done.exit_code, done.stderr.count("\n")) == (3, 1)
    assert not files_in(project)


def test_a_file_is_no_project(project: Path) -> None:
    (project / "file").write_text("mine")
    assert llmbench("init", "file").exit_code == 2


def test_the_copied_settings_change_nothing() -> None:
    llmbench("init")
    assert load_settings(Path("configs/llmbench.yaml"), {}, {}) == Settings()


def test_the_new_project_collects_its_thirty_cases(project: Path) -> None:
    llmbench("init")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "benchmark", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    items = [line for line in done.stdout.splitlines() if line.startswith("tests/suites/test_benchmark.py::test_case[")]
    assert len(items) == 30
    assert {name for name in files_in(project) if "__pycache__" not in name} == FILES
