"""An adapter that was trained on what it is asked is announced, or refused."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pytest

from pytest_llmbench.cases import Case
from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.adapters import Adapter
from pytest_llmbench.training_overlap import check_training_rows

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
        with pytest.raises(UsageError, match=r"adapter mine: 1 rows of rows\.jsonl ask"):
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


def test_an_adapter_without_a_record_is_not_checked(tmp_path: Path) -> None:
    found = check_training_rows(
        adapter(tmp_path / "a", ["monte le son", "quelle heure"], recorded=False), CASES, strict=False
    )
    assert found == {"mine": {"dataset": None, "rows_near_cases": None}}
