"""`llmbench rescore`: metrics of today on the answers of a saved run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import llmbench

from pytest_llmbench.core.records import Completion
from pytest_llmbench.generation.completion_store import JOURNAL, CompletionJournal, stored_completions
from pytest_llmbench.runs.baseline import write_baseline
from pytest_llmbench.runs.history import find_run
from pytest_llmbench.runs.storage import read_document

MakeRun = Callable[..., dict[str, Any]]
SaveRun = Callable[..., Path]
MINE = "def pytest_llmbench_metrics(registry):\n    registry.add('length', lambda case, answer: len(answer.text))\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_run: SaveRun) -> Path:
    """The current folder, with one saved run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    save_run(Path("reports"), "accepted")
    return tmp_path


def test_the_result_is_a_run_of_its_own(project: Path) -> None:
    Path("mine.py").write_text(MINE)
    done = llmbench("rescore", "accepted", "--metrics-from", "mine.py")
    assert done.exit_code == 0, done.output
    path = Path("reports/runs/0002_rescored-accepted/run.json")
    assert done.stdout.splitlines()[-1] == f"run : {path}"
    assert "All" in done.stdout
    assert "  length: base " in done.stdout
    assert read_document(path)["statistics"]["metrics"]["length"]["base"]["scored"] == 2
    assert find_run("1", Path("reports")).document["statistics"]["metrics"].keys() >= {"relevance"}


def test_latest_stays_the_run_whose_answers_were_asked_for() -> None:
    assert llmbench("rescore", "latest").exit_code == 0
    assert llmbench("rescore", "latest", "--save", "again").exit_code == 0
    assert find_run("latest", Path("reports")).name == "0001_accepted"
    assert find_run("again", Path("reports")).document["metadata"]["rescored"]["run"] == "0001_accepted"


def test_the_journal_goes_along_so_that_it_can_be_rescored_again() -> None:
    journal = CompletionJournal(Path("reports/runs/0001_accepted"))
    journal.add("k", Completion("suite/case", 0, "base", "said", "stop"))
    journal.close()
    assert llmbench("rescore", "1", "--save", "twice").exit_code == 0
    assert [done.text for done in stored_completions(Path("reports/runs/0002_twice", JOURNAL))] == ["said"]


def test_a_file_can_be_asked_for_instead_of_a_saved_run() -> None:
    done = llmbench("rescore", "latest", "--output", "new.json")
    assert (done.exit_code, done.stdout.count("new.json")) == (0, 1)
    assert len(read_document(Path("new.json"))["results"]) == 2
    assert not Path("reports/runs/0002_rescored-accepted").exists()


def test_metrics_come_from_a_module_too(project: Path) -> None:
    Path("metrics_of_mine.py").write_text(MINE)
    done = llmbench("rescore", "1", "--metrics-from", "metrics_of_mine", "--output", "new.json")
    assert done.exit_code == 0, done.output
    assert "length" in read_document(Path("new.json"))["metadata"]["metrics"]


def test_suites_vocabulary_and_settings_can_be_given(make_run: MakeRun) -> None:
    first, second = make_run(cases=2)["results"]
    words = {first["tool"]: ["a"], second["tool"]: ["a"]}
    Path("words.json").write_text(json.dumps({"tools": words}))
    case = {"id": first["prompt_id"], "prompt": first["prompt"], "keywords": ["zebra"]}
    suite = {"category": first["category"], "system": "Tu es JARVIS, un assistant vocal.", "cases": [case]}  # as asked
    Path("suite.json").write_text(json.dumps(suite))
    Path("off.yaml").write_text("metrics: {relevance: false}")
    given = ["--prompts", "suite.json", "--vocabulary", "words.json", "--config", "off.yaml", "--output", "new.json"]
    done = llmbench("rescore", "1", *given)
    assert done.exit_code == 0, done.output
    new = read_document(Path("new.json"))
    assert new["results"][0]["scores"]["keywords"] == {"base": 0.0, "finetuned": 0.0}
    assert new["results"][0]["scores"]["relevance"] == first["scores"]["relevance"]
    assert "relevance" not in new["metadata"]["rescored"]["metrics"]


def test_no_model_and_no_torch_is_loaded() -> None:
    code = (
        "import atexit, sys; from pytest_llmbench.cli import main; sys.argv = ['llmbench', 'rescore', '1']\n"
        "atexit.register(lambda: print('loaded:', [n for n in ('torch', 'transformers') if n in sys.modules]))\n"
        "main()"
    )
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("LLMBENCH_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=hidden)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "no run 'nonsense'"),
        (["baseline.json"], "a baseline holds no answers"),
        (["1", "--metrics-from", "absent.py"], "--metrics-from absent.py: no such file or module"),
        (["1", "--metrics-from", "absent.module"], "--metrics-from absent.module: no such file or module"),
        (["1", "--metrics-from", "broken.py"], "broken.py:1: "),
        (["1", "--metrics-from", "empty.py"], "it defines no pytest_llmbench_metrics(registry)"),
        (["1", "--prompts", "absent.yaml"], "absent.yaml: no such file or folder"),
    ],
)
def test_what_cannot_be_rescored_is_one_line(make_run: MakeRun, words: list[str], message: str) -> None:
    write_baseline(make_run(cases=1), Path("baseline.json"), "a")
    Path("broken.py").write_text("def (")
    Path("empty.py").write_text("")
    done = llmbench("rescore", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert [path.name for path in Path("reports/runs").glob("0*")] == ["0001_accepted"]


def test_what_the_users_own_module_raises_keeps_its_traceback() -> None:
    Path("faulty.py").write_text("import not_installed_anywhere")
    assert isinstance(llmbench("rescore", "1", "--metrics-from", "faulty.py").exception, ModuleNotFoundError)


@pytest.mark.parametrize("place", ["reports/runs/0001_accepted/run.json", "words.json", "prompts/new.json", "mine.py"])
def test_what_is_read_is_not_replaced(place: str) -> None:
    Path("mine.py").write_text(MINE)
    Path("words.json").write_text("{}")
    Path("prompts").mkdir()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    given = ["--vocabulary", "words.json", "--prompts", "prompts", "--metrics-from", "mine.py"]
    done = llmbench("rescore", "1", *given, "--output", place)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.endswith("(--output)\n")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_name_that_no_folder_can_have_is_refused() -> None:
    done = llmbench("rescore", "1", "--save", "a" * 300)
    assert (done.exit_code, done.stdout) == (2, "")
    told = "the name of a run has at most 200 bytes, and aaaaaaaaaaaaaaaaaaaa… has 300; give a shorter one (--save)"
    assert done.stderr == f"error: {told}\n"
