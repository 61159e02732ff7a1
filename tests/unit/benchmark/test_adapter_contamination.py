"""An adapter that was trained on what it is asked is announced, or refused."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.benchmark.contamination import check_training_rows
from pytest_llmbench.cases.suites import Case
from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.datasets.contamination import Match
from pytest_llmbench.datasets.files import contaminated
from pytest_llmbench.models.adapters import Adapter

CASES = [Case("sound", "up", "monte le son", ()), Case("light", "on", "allume la lampe du salon", ())]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data folder of this repository, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path / "cache"))


def adapter(folder: Path, prompts: list[str], *, recorded: bool = True) -> dict[str, Adapter]:
    folder.mkdir()
    rows = [json.dumps({"prompt": prompt, "completion": "d'accord"}) + "\n" for prompt in prompts]
    (folder / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    digest = hashlib.sha256((folder / "rows.jsonl").read_bytes()).hexdigest()
    record = {"dataset": {"name": "rows.jsonl", "sha256": digest, "rows": len(prompts)}} if recorded else {}
    (folder / "llmbench_training.json").write_text(json.dumps(record), encoding="utf-8")
    return {"mine": Adapter("mine", str(folder), "", "", "", None, None, "LORA", 8, 16.0, (), 0.0)}


def test_rows_near_a_case_are_announced_with_the_nearest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pytest_llmbench"):
        found = check_training_rows(adapter(tmp_path / "a", ["quelle heure", "Monte le son !"]), CASES, strict=False)
    assert found == {"mine": {"dataset": "rows.jsonl", "rows_near_cases": 1}}
    assert "adapter mine: 1 rows of rows.jsonl" in caplog.text
    assert "sound/up" in caplog.text


def test_strict_refuses_them_also_when_the_look_was_kept(tmp_path: Path) -> None:
    adapters = adapter(tmp_path / "a", ["Monte le son !", "quelle heure"])
    for _ in range(2):
        with pytest.raises(UsageError, match=r"adapter mine: 1 rows of rows\.jsonl ask.* leave benchmark\.strict out"):
            check_training_rows(adapters, CASES, strict=True)
    assert check_training_rows(adapters, CASES[1:], strict=True)["mine"]["rows_near_cases"] == 0


def test_rows_that_are_not_found_are_no_proof(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adapters = adapter(tmp_path / "a", ["Monte le son !", "quelle heure"])
    (tmp_path / "a/rows.jsonl").write_text("changed", encoding="utf-8")
    assert check_training_rows(adapters, CASES, strict=False) == {
        "mine": {"dataset": "rows.jsonl", "rows_near_cases": None}
    }
    assert not caplog.text
    check_training_rows(adapters, CASES, strict=True)
    assert "(rows.jsonl) were not found" in caplog.text


def test_rows_that_are_not_taken_any_more_keep_no_adapter_from_being_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapters = adapter(tmp_path / "a", ["Monte le son !", " "])
    found = check_training_rows(adapters, CASES, strict=True)
    assert found == {"mine": {"dataset": "rows.jsonl", "rows_near_cases": None}}
    assert re.search(r"since they cannot be read: .*rows\.jsonl:2: message 1, the user's, is empty", caplog.text)
    assert "not found" not in caplog.text


def test_an_adapter_without_a_record_is_not_checked(tmp_path: Path) -> None:
    found = check_training_rows(
        adapter(tmp_path / "a", ["monte le son", "quelle heure"], recorded=False), CASES, strict=False
    )
    assert found == {"mine": {"dataset": None, "rows_near_cases": None}}


def test_of_several_workers_one_reads_the_dataset_and_the_others_take_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters, workers = adapter(tmp_path / "a", ["Monte le son !", "quelle heure"]), 3
    together, reads = threading.Barrier(workers), []

    def slowly(path: Path, cases: Sequence[Case]) -> list[Match]:
        reads.append(path)
        threading.Event().wait(0.3)  # time enough for the others to come here, if they could
        return contaminated(path, cases)

    def work(_: int) -> dict[str, Any]:
        together.wait()
        return check_training_rows(adapters, CASES, strict=False)

    monkeypatch.setattr("pytest_llmbench.benchmark.contamination.contaminated", slowly)
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(work, range(workers)))
    assert found == [{"mine": {"dataset": "rows.jsonl", "rows_near_cases": 1}}] * workers
    assert len(reads) == 1


def test_where_the_cache_cannot_be_written_the_rows_are_checked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMBENCH_CACHE_DIR", str(tmp_path / "file"))
    found = check_training_rows(adapter(tmp_path / "a", ["Monte le son !", "quelle heure"]), CASES, strict=False)
    assert found["mine"]["rows_near_cases"] == 1
    assert "rows.jsonl is held against the cases again next time: cannot write" in caplog.text


def test_a_damaged_look_is_taken_again(tmp_path: Path) -> None:
    adapters = adapter(tmp_path / "a", ["Monte le son !", "quelle heure"])
    found = check_training_rows(adapters, CASES, strict=False)
    (kept,) = (tmp_path / "cache" / "overlap").glob("*.json")
    whole = kept.read_text(encoding="utf-8")
    kept.write_text(whole[:20], encoding="utf-8")
    assert check_training_rows(adapters, CASES, strict=False) == found
    assert kept.read_text(encoding="utf-8") == whole
