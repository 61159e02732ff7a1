"""`llmbench report`: the analysis of a run that is on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command_line import llmbench
from support.rendered import analysis

from pytest_llmbench.core.records import CaseResult, Completion, Run
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.runs.baseline import write_baseline
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.storage import read_document, write_json
from pytest_llmbench.runs.typed import RunPoint


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
    assert llmbench("report", run_file, "--language", "en").stdout == analysis(document, "en")


def test_a_folder_stands_for_the_run_in_it(run_file: Path) -> None:
    whole = llmbench("report", run_file).stdout
    assert llmbench("report", run_file.parent).stdout == whole
    run_file.rename(run_file.with_name("benchmark.json"))
    assert llmbench("report", run_file.parent).stdout == whole


@pytest.mark.parametrize("words", [["missing.json"], ["."], ["broken.json"], ["run.json", "--language", "de"]])
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


def test_a_saved_run_is_told_by_its_number_name_or_latest(run_file: Path) -> None:
    (Path("reports") / "runs").mkdir(parents=True)
    run_file.parent.rename("reports/runs/0001_first")
    whole = llmbench("report", "reports/runs/0001_first/run.json").stdout
    for reference in ("1", "first", "0001_first", "latest"):
        assert llmbench("report", reference).stdout == whole
    Path("reports").rename("elsewhere")
    assert llmbench("report", "1", "--report-dir", "elsewhere").stdout == whole


@pytest.mark.parametrize(
    ("environment", "words"),
    [({}, ["--config", "other.yaml"]), ({"LLMBENCH_CONFIG": "other.yaml"}, [])],
    ids=["option", "variable"],
)
def test_runs_are_looked_for_where_the_settings_that_are_named_say(
    run_file: Path, environment: dict[str, str], words: list[str]
) -> None:
    Path("other.yaml").write_text("output: {report_dir: elsewhere}\n")
    whole = llmbench("report", run_file).stdout
    Path("elsewhere/runs").mkdir(parents=True)
    run_file.parent.rename("elsewhere/runs/0001_first")
    assert llmbench("report", "1", *words, **environment).stdout == whole


def test_a_run_that_recorded_no_settings_is_shown_in_english(run_file: Path) -> None:
    document = read_document(run_file)
    document["metadata"]["settings"] = None
    run_file.write_text(json.dumps(document), encoding="utf-8")
    assert "LLM BENCHMARK ANALYSIS" in llmbench("report", run_file).stdout


def test_json_is_the_document(run_file: Path) -> None:
    assert json.loads(llmbench("report", run_file, "--format", "json").stdout) == read_document(run_file)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--format", "html", "--language", "fr"], b"<!doctype html>"),
        (["--format", "png"], b"\x89PNG"),
        (["--format", "differences"], b"\x89PNG"),
        (["--format", "trend"], b"\x89PNG"),
        (["--format", "markdown"], b"#"),
        (["--format", "text"], b"===="),
        (["--format", "json"], b"{"),
    ],
)
def test_every_format_can_be_a_file(run_file: Path, words: list[str], start: bytes) -> None:
    done = llmbench("report", run_file, *words, "--output", "out/file")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "out/file\n", "")
    assert Path("out/file").read_bytes().lower().startswith(start.lower())


def test_the_page_of_an_older_run_shows_the_trend_up_to_it(
    run_file: Path, save_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for month in (1, 3):
        save_run(Path("reports"), "nightly", timestamp=f"2026-0{month}-01T10:00:00+00:00")
    given: list[str] = []

    def write_html(_: object, history: list[RunPoint], *__: object) -> None:
        given.extend(point.name for point in history)

    monkeypatch.setattr("pytest_llmbench.reports.html.page.write_html", write_html)
    llmbench("report", run_file, "--format", "html", "--output", "page.html")
    assert given == ["0001_nightly"]


def test_a_trend_ends_with_the_run_wherever_its_file_is(
    run_file: Path, save_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_run(Path("reports"), "nightly", timestamp="2026-01-01T10:00:00+00:00")
    given: list[str] = []

    def save_trend(history: list[RunPoint], path: Path, _: object) -> None:
        given.extend(point.name for point in history)
        path.touch()

    monkeypatch.setattr("pytest_llmbench.reports.charts.trend.save_trend", save_trend)
    llmbench("report", run_file, "--language", "en", "--format", "trend", "--output", "trend.png")
    assert given == ["0001_nightly", "this run"]


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_text_has_the_trend_too(run_file: Path, save_run: Callable[..., Path], form: str) -> None:
    assert "Trend over the saved runs" not in llmbench("report", run_file, "--language", "en", "--format", form).stdout
    for month in (1, 3):
        save_run(Path("reports"), "nightly", timestamp=f"2026-0{month}-01T10:00:00+00:00")
    told = llmbench("report", run_file, "--language", "en", "--format", form).stdout
    assert "Trend over the saved runs (2)" in told
    assert told.index("nightly") < told.index("this run")


@pytest.mark.parametrize("form", ["html", "png"])
def test_a_format_that_is_no_text_asks_for_a_file(run_file: Path, form: str) -> None:
    done = llmbench("report", run_file, "--format", form)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"error: --format {form} makes a file; say where with --output\n"


def test_a_baseline_shows_its_scores_and_says_what_it_lacks(run_file: Path) -> None:
    write_baseline(read_document(run_file), Path("accepted.json"), "0001_first")
    done = llmbench("report", "accepted.json")
    assert done.exit_code == 0
    assert done.stdout.startswith("baseline 0001_first of 2026-02-18T10:00:00+00:00, modèle ✓; it holds scores and no")
    assert done.stdout.splitlines()[-1].split() == ["all", "1", "0.500"]
    assert json.loads(llmbench("report", "accepted.json", "--format", "json").stdout)["kind"] == "baseline"


@pytest.mark.parametrize("form", ["html", "markdown", "png"])
def test_what_needs_answers_refuses_a_baseline(run_file: Path, form: str) -> None:
    write_baseline(read_document(run_file), Path("accepted.json"), "0001_first")
    done = llmbench("report", "accepted.json", "--format", form, "--output", "file")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"a baseline holds no answers, which --format {form} needs" in done.stderr
    assert not Path("file").exists()


@pytest.mark.parametrize(
    "place", ["runs/0001_first/run.json", "runs/0001_first/report.txt", "link.json", "llmbench.yaml"]
)
@pytest.mark.parametrize("form", ["text", "html"])
def test_a_report_replaces_neither_its_run_nor_what_lies_with_one(run_file: Path, place: str, form: str) -> None:
    whole = run_file.read_bytes()
    Path("link.json").symlink_to(run_file)
    Path("llmbench.yaml").write_text("output: {language: en}", encoding="utf-8")
    done = llmbench("report", run_file, "--format", form, "--output", place, "--config", "llmbench.yaml")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.endswith("(--output)\n")
    assert run_file.read_bytes() == whole
    assert [path.name for path in run_file.parent.iterdir()] == ["run.json"]
    assert Path("llmbench.yaml").read_text(encoding="utf-8") == "output: {language: en}"


def test_a_report_may_replace_an_earlier_one_but_not_the_file_that_it_shows(run_file: Path) -> None:
    copy = Path("copy.json")
    copy.write_bytes(run_file.read_bytes())
    assert llmbench("report", copy, "--output", "copy.json").exit_code == 2
    assert copy.read_bytes() == run_file.read_bytes()
    for _ in range(2):
        assert llmbench("report", copy, "--output", "report.txt").exit_code == 0
