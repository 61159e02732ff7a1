"""`llmbench baseline`: the file to commit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.command_line import llmbench

from pytest_llmbench.benchmark.asking_again import Questions, ask_again
from pytest_llmbench.cases.suites import load_cases, load_vocabulary
from pytest_llmbench.cli.terminal import AnswerCount
from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.records import Completion
from pytest_llmbench.core.settings import MetricsSettings, Settings
from pytest_llmbench.metrics import default_metrics
from pytest_llmbench.runs import folders
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.history import find_run, save

SaveRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_run: SaveRun) -> Path:
    """The current folder, with one saved run."""
    monkeypatch.chdir(tmp_path)
    save_run(Path("reports"), "accepted")
    return tmp_path


def test_a_saved_run_becomes_a_file_that_comparisons_read_alike() -> None:
    done = llmbench("baseline", "accepted", "--as-measured")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("baselines/accepted.json: 2 results of 0001_accepted, ")
    written, run = (
        find_run("baselines/accepted.json", Path("reports")).comparable,
        find_run("1", Path("reports")).comparable,
    )
    assert (written.name, written.rows) == (run.name, run.rows)


def test_where_it_is_written_and_read_can_be_chosen(project: Path) -> None:
    (project / "reports").rename("elsewhere")
    assert (
        llmbench("baseline", "1", "--as-measured", "--output", "b/mine.json", "--report-dir", "elsewhere").exit_code
        == 0
    )
    assert llmbench("baseline", "b/mine.json", "--output", "copy.json").exit_code == 0
    assert Path("copy.json").read_bytes() == Path("b/mine.json").read_bytes()


def test_the_projects_own_report_folder_is_looked_into(project: Path) -> None:
    (project / "reports").rename("elsewhere")
    assert llmbench("baseline", "1", "--as-measured", LLMBENCH_REPORT_DIR="elsewhere").exit_code == 0


@pytest.mark.parametrize("words", [["7"], ["."], ["1", "--as-measured", "--output", "reports"]])
def test_what_cannot_be_written_is_one_line(words: list[str]) -> None:
    done = llmbench("baseline", *words)
    assert (done.exit_code in {2, 3}, done.stdout) == (True, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")


class Echo:
    """Answers with its seed."""

    variants = ("base", "finetuned")

    planned: ClassVar[list[int]] = []

    def __init__(self, settings: Any, cases: Any = ()) -> None:
        self.settings = settings
        self.planned.append(len(cases))

    def identity(self, variant: str) -> dict[str, str]:
        return {"echo": variant}

    def weight(self, _case: Any) -> int:
        return 1

    def batch_size(self) -> int:
        return 2

    def complete(self, cases: Any, variant: str) -> Any:
        for case in cases:
            yield Completion(case.name, case.epoch, variant, f"{self.settings.generation.seed}", "stop")

    def embed(self, pairs: Any) -> Any:
        return [completion for _, completion in pairs]

    def describe(self) -> dict[str, Any]:
        return {"backend": "transformers", "base_model": "echo", "device": "cpu", "adapters": {}}

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def measured(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One run whose cases the project's suite still has, of a model that is there."""
    suite = "category: drill\ncases:\n  - {id: one, prompt: monte le son, keywords: [son]}\n"
    (project / "prompts").mkdir()
    (project / "prompts/drill.yaml").write_text(suite)
    (project / "prompts/tools.yaml").write_text("tools: {volume_up: [son]}\n")
    vocabulary = load_vocabulary("prompts/tools.yaml")
    registry = default_metrics(MetricsSettings(), vocabulary)
    cases = load_cases(["prompts/drill.yaml"], vocabulary)
    questions = Questions(cases, registry, vocabulary, project / "first", AnswerCount())
    answered = ask_again(Settings(), questions, Echo)  # type: ignore[arg-type]
    save(build_document(answered, answer_chars=500), Path("reports"), "mine")
    monkeypatch.setattr("pytest_llmbench.benchmark.main_job.open_backend", Echo)
    return project


def test_the_accepted_model_is_asked_again_with_a_fresh_seed(measured: Path) -> None:
    done = llmbench("baseline", "mine")
    assert done.exit_code == 0, done.output
    assert Echo.planned[-1] == 1
    before, again = find_run("mine", Path("reports")), find_run("mine-again", Path("reports"))
    written = find_run("baselines/accepted.json", Path("reports")).comparable
    assert written.name == again.name == "0003_mine-again"
    assert written.metadata["seed"] == again.document["metadata"]["seed"] != before.document["metadata"]["seed"]


@pytest.mark.usefixtures("measured")
def test_two_that_ask_in_the_same_second_journal_into_folders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str] = []

    def new_side_folder(report_dir: Path, token: str) -> Path:
        tokens.append(token)
        return folders.new_side_folder(report_dir, token)

    usual = time.strftime
    monkeypatch.setattr(time, "strftime", lambda form, *at: "now" if form.startswith("%Y%m%d") else usual(form, *at))
    monkeypatch.setattr("pytest_llmbench.runs.history.new_side_folder", new_side_folder)
    for _ in range(2):
        assert llmbench("baseline", "mine").exit_code == 0
    assert len({*tokens}) == 2


def test_what_cannot_be_asked_as_it_was_is_refused_with_the_way_out(measured: Path) -> None:
    suite = measured / "prompts/drill.yaml"
    suite.write_text(suite.read_text().replace("monte le son", "baisse le son"))
    done = llmbench("baseline", "mine")
    assert done.exit_code == 2
    assert "drill/one" in done.stderr
    assert "--as-measured" in done.stderr
    assert not Path("baselines").exists()


@pytest.mark.usefixtures("measured")
def test_asking_that_ends_early_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_settings: Settings, questions: Questions, _opened: object) -> None:
        questions.folder.mkdir(exist_ok=True)
        (questions.folder / "completions.sqlite").write_text("")
        raise NotReadyError("the server is gone")

    monkeypatch.setattr("pytest_llmbench.benchmark.asking_again.ask_again", broken)
    done = llmbench("baseline", "mine")
    assert done.exit_code == 3
    assert "the server is gone; or take the answers" in done.stderr
    assert {path.name for path in Path("reports/runs").iterdir() if path.is_dir()} == {"0001_accepted", "0002_mine"}


def test_greedy_answers_are_taken_as_measured(project: Path, save_run: SaveRun) -> None:
    run = save_run(Path("reports"), "greedy")
    document = json.loads(run.read_text(encoding="utf-8"))
    document["metadata"]["settings"]["generation"]["temperature"] = 0
    run.write_text(json.dumps(document, indent=2), encoding="utf-8")
    done = llmbench("baseline", "greedy")
    assert done.exit_code == 0, done.output
    assert "greedy" in done.stderr
    assert find_run("baselines/accepted.json", Path("reports")).comparable.name == "0002_greedy"


@pytest.mark.parametrize("words", [["--as-measured"], []])
@pytest.mark.parametrize(
    ("place", "text"),
    [("tools.yaml", "tools: {}\n"), ("notes.json", "[1]"), ("cut.json", '{"kind": "baseline", '), ("run.json", "{}")],
)
def test_a_baseline_replaces_nothing_but_a_baseline(place: str, text: str, words: list[str]) -> None:
    Path(place).write_text(text, encoding="utf-8")
    done = llmbench("baseline", "accepted", *words, "--output", place)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {place}: is no baseline, so it is not replaced; delete it, or choose another file (--output)\n"
    )
    assert Path(place).read_text(encoding="utf-8") == text


def test_a_baseline_replaces_an_earlier_one_and_an_empty_file() -> None:
    Path("mine.json").touch()
    for _ in range(2):
        assert llmbench("baseline", "accepted", "--as-measured", "--output", "mine.json").exit_code == 0


def test_a_baseline_does_not_go_into_the_folder_of_a_run() -> None:
    done = llmbench("baseline", "accepted", "--as-measured", "--output", "reports/runs/0001_accepted/baseline.json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert not Path("reports/runs/0001_accepted/baseline.json").exists()
