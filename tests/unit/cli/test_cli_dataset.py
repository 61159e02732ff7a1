"""`llmbench dataset`: made, validated, split and checked from the command line."""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import llmbench

from pytest_llmbench.datasets.row_formats import new_row

ROOT = Path(__file__).parents[3]
SUITE = "category: c\ncases:\n  - {id: a, prompt: monte le son de la télé}\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with twenty rows."""
    monkeypatch.chdir(tmp_path)
    rows = [new_row(f"{n} {n**7}", "Oui.", kind="command") for n in range(100, 120)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("language", ["", "en"])
def test_the_starters_rows_are_made_again_byte_for_byte(language: str) -> None:
    data, prompts = ROOT / "data" / language, ROOT / "prompts" / language
    made = llmbench(
        *("dataset", "generate", data / "templates.yaml", "--output", "t.jsonl", "--heldout", "h.jsonl"),
        *("--prompts", prompts, "--vocabulary", prompts / "tools.yaml"),
    )
    assert made.exit_code == 0
    assert Path("t.jsonl").read_bytes() == (data / "train.jsonl").read_bytes()
    assert Path("h.jsonl").read_bytes() == (data / "heldout.jsonl").read_bytes()


def test_templates_are_checked_with_the_packaged_vocabulary_where_the_project_has_none() -> None:
    made = llmbench("dataset", "generate", ROOT / "data/en/templates.yaml", "--output", "t.jsonl", "--count", "26")
    assert (made.exit_code, made.stderr) == (0, "")
    named = ("dataset", "generate", ROOT / "data/en/templates.yaml", "--output", "t.jsonl", "--vocabulary", "no.yaml")
    assert "no.yaml: cannot be read" in llmbench(*named).stderr


def test_generate_writes_the_sides_under_the_references_names(project: Path) -> None:
    Path("chunks.jsonl").write_text('{"title": "GIDAF", "text": "Un outil.", "version": 4}\n', encoding="utf-8")
    done = llmbench(
        *("dataset", "generate", "chunks.jsonl", "--method", "augmented", "--count", "20", "--split"),
        *("--output", "data/dataset_20.jsonl", "--json"),
    )
    told = json.loads(done.stdout)
    assert sorted(path.name for path in (project / "data").iterdir()) == [
        f"dataset_20_{side}.jsonl" for side in ("test", "train", "val")
    ]
    assert sum(side["rows"] for side in told["files"].values()) == told["rows"] == 20


def test_validate_tells_what_a_dataset_holds() -> None:
    assert "rows.jsonl: 20 rows, form 'prompt'" in llmbench("dataset", "validate", "rows.jsonl").stdout
    told = json.loads(llmbench("dataset", "validate", "rows.jsonl", "--json").stdout)
    assert (told["rows"], told["roles"], told["extra_keys"]) == (20, {"user": 20, "assistant": 20}, {"kind": 20})


def test_a_wrong_row_ends_with_its_line_and_exit_code_2() -> None:
    Path("wrong.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n', encoding="utf-8")
    done = llmbench("dataset", "validate", "wrong.jsonl")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: wrong.jsonl:2: the row has no 'completion'")


def test_split_tells_sizes_and_files() -> None:
    done = llmbench("dataset", "split", "rows.jsonl", "--shares", "70/0/30")
    assert done.stdout.splitlines()[:2] == ["rows_train.jsonl: 14 rows (70.0%)", "rows_test.jsonl: 6 rows (30.0%)"]
    assert not Path("rows_val.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rows.jsonl", "--output", "./rows.jsonl"), "rows.jsonl is both SOURCE and --output"),
        (("rows.jsonl", "--output", "rows.csv", "--heldout", "rows.csv"), "rows.csv is both --output and --heldout"),
        (("rows_val.jsonl", "--output", "rows.jsonl", "--split"), "rows_val.jsonl is both SOURCE and the val side"),
        (("rows.jsonl", "--output", "o.jsonl", "--vocabulary", "o.jsonl"), "o.jsonl is both --vocabulary and --output"),
        (("rows.jsonl", "--output", "o.journal", "--method", "llm"), "o.journal is both --output and the journal"),
        (("rows.jsonl", "--output", "."), ". names no file; the rows are written to one (--output)"),
        (
            ("rows.jsonl", "--output", "o.jsonl", "--system", "Bref."),
            "rows.jsonl has system prompts of its own, or none",
        ),
        (
            ("rows.jsonl", "--output", "o.jsonl", "--server", "http://a"),
            "the method augmented asks no server; take the",
        ),
    ],
)
def test_generate_refuses_what_has_no_effect_and_what_would_write_over_other_files(
    project: Path, words: tuple[str, ...], said: str
) -> None:
    Path("rows_val.jsonl").symlink_to("rows.jsonl")
    before = Path("rows.jsonl").read_bytes()
    done = llmbench("dataset", "generate", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert Path("rows.jsonl").read_bytes() == before
    assert sorted(path.name for path in project.iterdir()) == ["rows.jsonl", "rows_val.jsonl"]


def test_a_folder_of_other_prompts_is_no_suite() -> None:
    Path("prompts").mkdir()
    Path("prompts/system.txt").touch()
    Path("prompts/system.yaml").write_text("template: |\n  In such cases: be brief.\n", encoding="utf-8")
    Path("prompts/chat.json").write_text('{"system": "Be brief."}', encoding="utf-8")
    done = llmbench("dataset", "check", "rows.jsonl")
    assert (done.exit_code, "against no suite" in done.stdout) == (0, True), done.stderr
    Path("prompts/wrong.yaml").write_text("cases: []\n", encoding="utf-8")
    assert llmbench("dataset", "check", "rows.jsonl").exit_code == 2, "one suite makes it a folder of suites"


def test_generate_writes_over_no_suite_and_needs_a_journal_that_can_be_read(project: Path) -> None:
    Path("prompts").mkdir()
    suite = Path("prompts/shop.jsonl")
    suite.write_text('{"prompt": "Where is my order?"}', encoding="utf-8")
    done = llmbench("dataset", "generate", "rows.jsonl", "--output", str(suite))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "prompts/shop.jsonl is both a file of --prompts and --output" in done.stderr
    (project / "o.journal").mkdir()
    words = ("--output", "o.jsonl", "--method", "llm", "--server", "http://127.0.0.1:9", "--language", "fr")
    done = llmbench("dataset", "generate", "rows.jsonl", *words)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "the answers in o.journal cannot be read: Is a directory; move it away" in done.stderr


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def _obeys_ctrl_c() -> Iterator[None]:
    """A job in the background of a shell is started without."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("_obeys_ctrl_c")
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("words", [(), ("--split",)])
def test_a_stopped_generation_leaves_what_was_there(
    project: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    number: signal.Signals,
    exit_code: int,
) -> None:
    def stop(_row: Any) -> str:
        os.kill(os.getpid(), number)
        return ""

    Path("made.jsonl").write_text("earlier", encoding="utf-8")
    monkeypatch.setattr("pytest_llmbench.datasets.files._line", stop)
    done = llmbench("dataset", "generate", "rows.jsonl", "--output", "made.jsonl", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (exit_code, "", "interrupted\n")
    assert Path("made.jsonl").read_text(encoding="utf-8") == "earlier"
    assert sorted(path.name for path in project.iterdir()) == ["made.jsonl", "rows.jsonl"]
    assert not list(temporary.iterdir())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_full_disk_leaves_what_was_there(project: Path, temporary: Path) -> None:
    rows = [new_row(f"{n} {n**7}", "mot " * 200) for n in range(200)]
    Path("large.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    Path("made.jsonl").write_text("earlier", encoding="utf-8")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = Path("large.jsonl").stat().st_size
    words = ("dataset", "generate", "large.jsonl", "--output", "made.jsonl", "--method")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, usual[1]))
        spool = llmbench(*words, "simple")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * 2, usual[1]))
        rows_of_it = llmbench(*words, "augmented", "--language", "en")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    for done in (spool, rows_of_it):
        assert (done.exit_code, done.stdout) == (3, "")
        assert done.stderr.startswith(f"error: cannot keep rows in {temporary} (File too large); free some space")
    assert Path("made.jsonl").read_text(encoding="utf-8") == "earlier"
    assert sorted(path.name for path in project.iterdir()) == ["large.jsonl", "made.jsonl", "rows.jsonl"]
    assert not list(temporary.iterdir())


def test_what_is_replaced_is_told() -> None:
    words = ("dataset", "generate", "rows.jsonl", "--method", "simple", "--output", "made.jsonl")
    assert "made.jsonl: 20 rows\n" in llmbench(*words).stdout
    again = llmbench(*words, "--heldout", "rows_held.jsonl").stdout
    assert "made.jsonl: 20 rows, in place of the file that was there\n" in again
    assert "rows_held.jsonl was not written" in again
    assert not Path("rows_held.jsonl").exists()
    Path("rows_held.jsonl").write_text("earlier", encoding="utf-8")
    beside = json.loads(llmbench(*words, "--heldout", "rows_held.jsonl", "--json").stdout)
    assert beside["replaced"] == ["made.jsonl"]
    assert Path("rows_held.jsonl").read_text(encoding="utf-8") == "earlier"
    split = ("dataset", "split", "made.jsonl", "--json")
    assert json.loads(llmbench(*split).stdout)["replaced"] == []
    assert len(json.loads(llmbench(*split).stdout)["replaced"]) == 3


def test_a_check_against_no_suite_warns_and_is_refused_when_strict() -> None:
    done = llmbench("dataset", "check", "rows.jsonl")
    assert done.exit_code == 0
    assert "⚠ contamination   no suite was found" in done.stdout
    strict = llmbench("dataset", "check", "rows.jsonl", "--strict", "--json")
    assert strict.exit_code == 2
    assert strict.stderr.startswith("error: --strict: no suite was found")
    assert json.loads(strict.stdout)["findings"][0]["check"] == "contamination"


def test_over_long_rows_fail_a_strict_check_and_the_limit_is_told() -> None:
    Path("suite.yaml").write_text(SUITE, encoding="utf-8")
    with Path("rows.jsonl").open("a", encoding="utf-8") as rows:
        rows.write(json.dumps(new_row("Raconte.", "mot " * 4000)) + "\n")
    words = ("dataset", "check", "rows.jsonl", "--prompts", "suite.yaml", "--max-length", "100")
    assert llmbench(*words).exit_code == 0
    done = llmbench(*words, "--strict")
    assert done.exit_code == 1
    assert "at most 100 tokens each (--max-length); 1 warning" in done.stdout


def test_check_ends_with_1_only_when_it_is_strict_and_a_row_is_in_a_suite() -> None:
    Path("suite.yaml").write_text(SUITE, encoding="utf-8")
    words = ("dataset", "check", "rows.jsonl", "--prompts", "suite.yaml")
    assert llmbench(*words, "--strict").exit_code == 0
    with Path("rows.jsonl").open("a", encoding="utf-8") as rows:
        rows.write(json.dumps(new_row("Monte le son de la tele", "Oui.")) + "\n")
    assert llmbench(*words).exit_code == 0
    strict = llmbench(*words, "--strict")
    assert strict.exit_code == 1
    assert "rows.jsonl:21: 'Monte le son de la tele' is the same as c/a" in strict.stdout
    (match,) = json.loads(llmbench(*words, "--json").stdout)["contaminated"]
    assert (match["row"], match["case"], match["similarity"]) == (20, "c/a", 1.0)


def test_check_takes_the_suites_of_the_settings_or_several_that_are_named(project: Path) -> None:
    (project / "mine").mkdir()
    Path("mine/suite.yaml").write_text(SUITE.replace("}", ", tool: louder}"), encoding="utf-8")
    Path("mine/words.yaml").write_text("tools: {louder: [son]}", encoding="utf-8")
    Path("other.yaml").write_text(SUITE.replace("category: c", "category: d"), encoding="utf-8")
    Path("set.yaml").write_text(
        "benchmark: {prompts: [mine/suite.yaml], vocabulary: mine/words.yaml}", encoding="utf-8"
    )
    words = ("dataset", "check", "rows.jsonl", "--json")
    assert json.loads(llmbench(*words, "--config", "set.yaml").stdout)["cases"] == 1
    both = llmbench(*words, "--config", "set.yaml", "--prompts", "mine/suite.yaml", "--prompts", "other.yaml")
    assert json.loads(both.stdout)["cases"] == 2
    assert json.loads(llmbench(*words, "--prompts", "other.yaml").stdout)["cases"] == 1
    (project / "prompts").mkdir()
    assert json.loads(llmbench(*words).stdout)["cases"] == 0
    assert llmbench(*words, "--prompts", "prompts").exit_code == 2, "a folder that is named shall hold some"


def test_rows_are_made_away_from_the_suites_of_the_settings(project: Path) -> None:
    (project / "configs").mkdir()
    Path("configs/llmbench.yaml").write_text("benchmark: {prompts: [mine.yaml]}", encoding="utf-8")
    asked = json.loads(Path("rows.jsonl").read_text(encoding="utf-8").splitlines()[4])["prompt"][-1]["content"]
    Path("mine.yaml").write_text(f"category: c\ncases:\n  - {{id: a, prompt: {asked}}}\n", encoding="utf-8")
    words = ("dataset", "generate", "rows.jsonl", "--method", "simple", "--output")
    assert "1 left out for being too near to a prompt of the suites" in llmbench(*words, "made.jsonl").stdout
    refused = llmbench(*words, "mine.yaml")
    assert (refused.exit_code, refused.stderr.count("is both a file of --prompts and --output")) == (2, 1)
    Path("other.yaml").write_text(SUITE, encoding="utf-8")
    assert "left out" not in llmbench(*words, "made.jsonl", "--prompts", "other.yaml").stdout


def test_the_page_shows_what_its_first_example_prints() -> None:
    shown = (ROOT / "docs/datasets.md").read_text(encoding="utf-8").partition("```console\n$ llmbench ")[2]
    command, printed = shown.partition("\n$ ")[0].split("\n", 1)
    for folder in ("data", "prompts"):
        Path(folder).mkdir()
        for file in (path for path in (ROOT / folder).iterdir() if path.is_file()):
            Path(folder, file.name).write_bytes(file.read_bytes())
    assert llmbench(*command.split()).output == f"{printed}\n"


@pytest.mark.parametrize("words", [["--output", "runs/0001_mine/run.json"], ["--output", "rows.json", "--heldout"]])
def test_rows_do_not_go_into_the_folder_of_a_saved_run(words: list[str]) -> None:
    Path("runs/0001_mine").mkdir(parents=True)
    run = Path("runs/0001_mine/run.json")
    run.write_text("{}", encoding="utf-8")
    given = [*words, "runs/0001_mine/heldout.jsonl"] if words[-1] == "--heldout" else words
    done = llmbench("dataset", "generate", ROOT / "data/en/templates.yaml", *given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "lies in the folder of the saved run 0001_mine" in done.stderr
    assert [path.read_text(encoding="utf-8") for path in run.parent.iterdir()] == ["{}"]
