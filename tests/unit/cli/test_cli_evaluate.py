"""`llmbench evaluate` and `llmbench query` as they are typed, on a tiny model."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.command_line import llmbench
from support.evaluation_project import ROWS, make_project, write
from typer.testing import Result

_PLAIN = ("--quantization", "none", "--device", "cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def _at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    usual = torch.get_num_threads()
    yield
    torch.set_num_threads(usual)


def pair(project: Path, adapter: str = "adapter") -> list[str]:
    given = str(project / adapter) if adapter != "none" else "none"
    return ["--base", str(project / "base"), "--adapter", given, *_PLAIN]


def test_evaluate_prints_the_tables_and_writes_the_reports(project: Path, tmp_path: Path) -> None:
    result = llmbench(
        "evaluate", project / "test.jsonl", *pair(project), "--chunks", project / "chunks.jsonl", "--batch-size", "4",
        "--max-new-tokens", "6", "--general", project / "general.jsonl", "--report-dir", "here", "--language", "fr",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "retrieval+finetuned" in result.stdout
    assert "perplexité" in result.stdout
    assert {path.name for path in (tmp_path / "here").iterdir()} == {
        "evaluation.json",
        "evaluation.txt",
        "evaluation.html",
        "evaluation.md",
        "evaluation.png",
    }


def test_evaluate_gives_programs_the_document(project: Path) -> None:
    result = llmbench(
        "evaluate", project / "test.jsonl", *pair(project, "none"), "--general", "none", "--limit", "3", "--json",
        "--max-new-tokens", "6", "--batch-size", "4",
    )  # fmt: skip
    document = json.loads(result.stdout)
    assert document["variants"] == ["base"]
    assert document["metadata"]["generation"]["temperature"] == 0
    assert document["metadata"]["questions"] == 3
    assert document["forgetting"] is None


@pytest.fixture
def knowing(project: Path, tmp_path: Path) -> Path:
    """The adapter with a record that says it was trained on a question of the test set."""
    folder = Path(shutil.copytree(project / "adapter", tmp_path / "knowing"))
    rows = write(folder / "rows.jsonl", *({"prompt": text, "completion": "oui"} for text in (ROWS[1][0], "bonjour")))
    dataset = {"name": rows.name, "sha256": hashlib.sha256(rows.read_bytes()).hexdigest(), "rows": 2}
    write(folder / "llmbench_training.json", {"dataset": dataset})
    return folder


def evaluated(project: Path, adapter: Path, *options: str) -> Result:
    return llmbench(
        "evaluate", project / "test.jsonl", "--base", project / "base", "--adapter", adapter, *_PLAIN, "--general",
        "none", "--max-new-tokens", "6", "--batch-size", "4", *options,
    )  # fmt: skip


def test_strict_refuses_an_adapter_trained_on_the_test_set_before_the_base_is_loaded(
    project: Path, knowing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.models.loading.load_base", lambda *_: pytest.fail("loaded"))
    result = evaluated(project, knowing, "--strict")
    assert result.exit_code == 2
    assert "1 rows of rows.jsonl ask what" in result.stderr
    assert result.stderr.endswith("or leave benchmark.strict out (--strict)\n")
    assert not [path for path in (tmp_path / "reports").rglob("*") if path.is_file()]


def test_without_strict_it_is_announced_once_and_the_report_says_so_once(
    project: Path, knowing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = evaluated(project, knowing)
    assert result.exit_code == 0, result.output
    assert [record.getMessage() for record in caplog.records if "rows.jsonl" in record.getMessage()] == [
        next(line for line in caplog.messages if line.startswith("adapter finetuned: 1 rows of rows.jsonl ask what"))
    ]
    document = json.loads(Path("reports/evaluation.json").read_text(encoding="utf-8"))
    assert document["metadata"]["backend"]["training_rows"]["finetuned"]["rows_near_cases"] == 1
    assert result.stdout.count("rows.jsonl") == 1


def test_strict_says_that_a_server_does_not_tell_the_training_rows(
    project: Path,
) -> None:
    result = llmbench("evaluate", project / "test.jsonl", "--server", "http://127.0.0.1:9/v1", "--strict")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[0] == (
        "benchmark.strict: a server does not tell what its adapters were trained on; nothing is refused (--strict)"
    )


def test_a_context_prompt_without_chunks_is_refused(project: Path) -> None:
    result = llmbench("evaluate", project / "test.jsonl", "--context-prompt", "{passages} {question}")
    assert result.exit_code == 2
    assert "give --chunks too" in result.stderr


def test_query_answers_on_standard_output_and_the_same_when_streamed(project: Path) -> None:
    typed = llmbench("query", ROWS[1][0], *pair(project), "--max-tokens", "6")
    assert typed.exit_code == 0, typed.output
    assert typed.stdout.strip()
    assert "tokens in" in typed.stderr
    streamed = llmbench("query", ROWS[1][0], *pair(project), "--max-new-tokens", "6", "--stream")
    assert streamed.stdout == typed.stdout
    refused = llmbench("query", "-", *pair(project))  # nothing on standard input
    assert refused.exit_code == 2
    assert "the question is empty" in refused.stderr


def test_query_shows_both_and_gives_programs_json(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = llmbench(
        "query", ROWS[1][0], *pair(project), "--both", "--max-new-tokens", "6", "--temperature", "0", "--json"
    )
    document = json.loads(both.stdout)
    assert [answer["variant"] for answer in document["answers"]] == ["base", "finetuned"]
    assert all(answer["completion_tokens"] <= 6 for answer in document["answers"])
    monkeypatch.setattr("pytest_llmbench.benchmark.engines.load_pair", lambda *_: pytest.fail("the base was loaded"))
    alone = llmbench("query", "ouvre", *pair(project, "none"), "--both")
    assert alone.exit_code == 2
    assert alone.stderr == (
        "error: two answers need a fine-tune beside the base; give model.adapter, or server.adapter "
        "(--both, --adapter, --server-adapter)\n"
    )
