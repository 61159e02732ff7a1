"""`llmbench report`: the analysis of a run that is on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import llmbench

from pytest_llmbench.records import CaseResult, Completion, Run
from pytest_llmbench.reports import analysis, build_document, read_document, write_json
from pytest_llmbench.settings import Settings


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_file(project: Path) -> Path:
    """A run of one case, made with French reports."""
    settings = Settings.model_validate({"output": {"language": "fr"}}).model_dump(mode="json")
    metadata: dict[str, object] = {
        "base_model": "modèle ✓",
        "lora_adapter": None,
        "device": "cpu",
        "timestamp": "2026-02-18T10:00:00+00:00",
        "settings": settings,
    }
    asked = {"category": "voice", "prompt_id": "son", "epoch": 0, "prompt": "monte le son", "keywords": ("son",)}
    answer = Completion("voice/son", 0, "base", "d'accord", "stop", 8, 4, 0.5)
    result = CaseResult(
        **asked,  # type: ignore[arg-type]  # mypy does not look into a mapping
        tool=None,
        reference=None,
        completions={"base": answer},
        scores={"relevance": {"base": 0.5}},
    )
    path = project / "runs/0001_first/run.json"
    write_json(build_document(Run(metadata, ("base",), (result,)), answer_chars=500), path)
    return path


def test_a_run_is_told_in_its_own_language_or_the_one_asked_for(run_file: Path) -> None:
    document = read_document(run_file)
    assert llmbench("report", run_file).stdout == analysis(document, "fr")
    assert llmbench("report", run_file, "--lang", "en").stdout == analysis(document, "en")


def test_a_folder_stands_for_the_run_in_it(run_file: Path) -> None:
    whole = llmbench("report", run_file).stdout
    assert llmbench("report", run_file.parent).stdout == whole
    run_file.rename(run_file.with_name("benchmark.json"))
    assert llmbench("report", run_file.parent).stdout == whole


@pytest.mark.parametrize("words", [["missing.json"], ["."], ["broken.json"], ["run.json", "--lang", "de"]])
def test_what_cannot_be_told_is_one_line(project: Path, run_file: Path, words: list[str]) -> None:
    (project / "broken.json").write_text('{"schema_version": 1')
    os.link(run_file, project / "runs/run.json")
    done = llmbench("report", *(f"runs/{word}" if word == "run.json" else word for word in words))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_terminal_that_lacks_a_character_shows_a_stand_in(run_file: Path) -> None:
    command = [sys.executable, "-c", "from pytest_llmbench.cli import main; main()", "report", str(run_file)]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "modèle ?" in done.stdout.decode("cp1252")
