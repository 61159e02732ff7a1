"""Why a trial ended: a code that programs decide by, and words that nobody decides by."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import get_args

import pytest

from pytest_llmbench.autotune.found_limits import FoundLimits
from pytest_llmbench.core.errors import (
    AdapterError,
    LLMBenchError,
    MissingRunError,
    ModelError,
    NotReadyError,
    ServerError,
    UsageError,
    WrongModelError,
)
from pytest_llmbench.load import reasons
from pytest_llmbench.load.reasons import BOTTLENECKS, Code, Reason
from pytest_llmbench.load.search_journal import InvalidTrial, SearchJournal

KINDS = (UsageError, MissingRunError, NotReadyError, ModelError, WrongModelError, AdapterError, ServerError)


def test_every_code_has_words_and_every_bottleneck_is_a_code() -> None:
    assert set(reasons._SENTENCES) == set(get_args(Code))
    assert set(get_args(Code)) >= BOTTLENECKS


def test_a_reason_counts_answers_and_names_the_failure_among_them() -> None:
    counted = {"good": 1, "judged": 3, "limit_s": 2.5}
    assert str(Reason("time_over", counted)) == "1 of 3 answers came within 2.5 s, and its time was over"
    failed = Reason("not_sure", {**counted, "quantile": 0.95, "failed": 2, "error": "HTTP 500: {oops}"})
    assert str(failed) == "1 of 3 answers came within 2.5 s; 2 failed: HTTP 500: {oops}: not sure against 0.95"


def test_a_journal_of_before_there_were_codes_is_read(tmp_path: Path) -> None:
    file = tmp_path / "search.jsonl"
    old = {"level": 8, "reason": "the load generator was the bottleneck", "sent": 9, "mended": False, "detail": {}}
    file.write_text(f"{json.dumps({'search': {}})}\n{json.dumps(old)}\n", encoding="utf-8")
    journal = SearchJournal(file, {})
    assert journal.trials == [InvalidTrial(8, old["reason"], 9)]  # type: ignore[arg-type]
    journal.add(InvalidTrial(8, "busy", 2, code="client_busy"))
    assert SearchJournal(file, {}).trials[1] == InvalidTrial(8, "busy", 2, code="client_busy")


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_reaches_another_process_as_the_same_error(kind: type[LLMBenchError], tmp_path: Path) -> None:
    shared = tmp_path / "found.jsonl"
    FoundLimits(shared).give_up(kind("no server; see server.url", names=("server.url",)))

    async def ask() -> None:
        async with FoundLimits(shared).asking():
            raise AssertionError("it was given up")

    with pytest.raises(kind, match=r"no server; see server\.url") as met:
        asyncio.run(ask())
    assert (type(met.value), met.value.names) == (kind, ("server.url",))
