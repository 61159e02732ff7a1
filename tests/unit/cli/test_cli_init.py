"""`llmbench init`: a project to start from, and no file of the user's lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import llmbench

from pytest_llmbench.cases.suites import load_cases, load_vocabulary
from pytest_llmbench.core import starter
from pytest_llmbench.core.settings import Settings, load_settings
from pytest_llmbench.datasets.rows import read_rows

DATA = {"data/chunks.jsonl", "data/example.csv", "data/heldout.jsonl", "data/templates.yaml", "data/train.jsonl"}
FILES = DATA | {
    "configs/llmbench.yaml",
    "prompts/tool_routing.yaml",
    "prompts/tools.yaml",
    "prompts/voice_commands.yaml",
    "prompts/voice_corrections.yaml",
    "tests/suites/test_autotune.py",
    "tests/suites/test_context.py",
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
    for name in {*FILES, "configs/languages/en.yaml", "configs/languages/fr.yaml"}:
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
    carried = {name for name in files_in(installed) if "languages" not in name}
    assert files_in(project / "other") == carried
    assert (project / "other/adapters/demo/adapter_model.safetensors").read_bytes() == b"\x00\xff"


def test_what_is_missing_is_added_and_what_is_there_stays(project: Path) -> None:
    for name in ("prompts/tools.yaml", "configs/llmbench.yaml"):
        (project / name).parent.mkdir()
        (project / name).write_text("mine")
    done = llmbench("init")
    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("left ")] == [
        f"left {name} as it is: it is yours; --force replaces it"
        for name in ("configs/llmbench.yaml", "prompts/tools.yaml")
    ]
    assert done.stdout.count("wrote ") == len(FILES) - 2
    assert files_in(project) == FILES
    assert (project / "prompts/tools.yaml").read_text() == "mine"


def test_a_second_time_adds_nothing_and_says_so(project: Path) -> None:
    llmbench("init", "--language", "en")
    before = {name: (project / name).stat().st_mtime_ns for name in files_in(project)}
    done = llmbench("init")
    assert done.stdout.startswith("nothing to add: the 15 starter files are here")
    assert {name: (project / name).stat().st_mtime_ns for name in files_in(project)} == before


def test_a_folder_of_own_suites_gets_no_examples(project: Path) -> None:
    (project / "prompts").mkdir()
    (project / "prompts/mine.yaml").write_text("category: mine\ncases: [{id: a, prompt: b}]\n")
    done = llmbench("init")
    assert "added no example suite to prompts: it has suites of its own" in done.stdout
    assert {name for name in files_in(project) if "prompts" in name} == {"prompts/mine.yaml", "prompts/tools.yaml"}
    assert "added no example" not in llmbench("init", "--force").stdout
    assert files_in(project) == FILES | {"prompts/mine.yaml"}


FRENCH = {"est", "une", "vous", "avec", "pour", "monte", "ouvre", "mets", "jarvis", "assistante", "fr"}


@pytest.mark.parametrize("told", ["en", "en-GB", "English"])
def test_an_english_project_has_no_french_word(project: Path, told: str) -> None:
    assert llmbench("init", "--language", told).exit_code == 0
    assert files_in(project) == FILES | {"adapters/README.md"}
    for name in FILES:
        text = (project / name).read_text(encoding="utf-8").replace("en or fr", "").replace("café", "")
        assert text.isascii(), name
        assert not FRENCH & set(re.findall(r"\w+", text.casefold())), name
    assert len(load_cases(["prompts"], load_vocabulary("prompts/tools.yaml"))) == 30
    assert load_settings(Path("configs/llmbench.yaml"), {}, {}) == Settings()
    assert len(read_rows("data/example.csv")) == 30


def test_a_french_project_that_asks_for_it_has_french_reports(project: Path) -> None:
    assert llmbench("init", "--language", "fr").exit_code == 0
    assert files_in(project) == FILES
    settings = load_settings(Path("configs/llmbench.yaml"), {}, {})
    assert settings.output.language == "fr"
    assert "JARVIS" in (project / "prompts/voice_commands.yaml").read_text(encoding="utf-8")


def test_any_other_language_gets_a_skeleton_that_names_it(project: Path) -> None:
    assert llmbench("init", "--language", "pt_BR").exit_code == 0
    assert not {name for name in files_in(project) if name.startswith("data/")}
    vocabulary = load_vocabulary("prompts/tools.yaml")
    cases = load_cases(["prompts"], vocabulary)
    assert (vocabulary.language, {case.language for case in cases}) == ("pt-BR", {"pt-BR"})
    finetune = load_settings(Path("configs/llmbench.yaml"), {}, {}).finetune
    assert (str(finetune.dataset), finetune.tools) == ("data/mine_train.jsonl", None)
    assert llmbench("init").stdout.startswith("nothing to add")


@pytest.mark.parametrize("told", ["x", "engl!sh", "", "fr en"])
def test_what_is_no_language_is_refused_with_what_there_is(project: Path, told: str) -> None:
    done = llmbench("init", "--language", told)
    assert done.exit_code == 2
    assert "there are examples in en, fr" in done.stderr
    assert not files_in(project)


def test_a_vocabulary_in_a_language_without_examples_gets_no_french_ones(project: Path) -> None:
    (project / "prompts").mkdir()
    (project / "prompts/tools.yaml").write_text("language: Klingon\ntools: {a: [b]}\n")
    assert llmbench("init").exit_code == 0
    assert not (project / "data").exists()
    assert "language: Klingon" in (project / "prompts/my_cases.yaml").read_text()


@pytest.mark.parametrize("name", ["configs", "prompts", "prompts/tools.yaml/x", "configs/llmbench.yaml/x"])
def test_what_stands_in_the_way_is_named(project: Path, name: str) -> None:
    in_the_way = project / name
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("mine")
    done = llmbench("init")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert name.partition("/")[0] in done.stderr


def test_two_languages_are_not_mixed(project: Path) -> None:
    llmbench("init", "--language", "en")
    (project / "prompts/voice_commands.yaml").unlink()
    done = llmbench("init", "--language", "fr")
    assert (done.exit_code, "prompts/tools.yaml is in 'en'" in done.stderr) == (2, True)
    assert "wrote prompts/voice_commands.yaml" in llmbench("init").stdout
    assert "language: en" in (project / "prompts/voice_commands.yaml").read_text(encoding="utf-8")
    assert llmbench("init", "--language", "fr", "--force").exit_code == 0
    assert "language: fr" in (project / "prompts/voice_commands.yaml").read_text(encoding="utf-8")


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
