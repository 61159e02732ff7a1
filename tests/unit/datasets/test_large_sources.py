"""Datasets made from sources larger than the memory that may be taken: the rows of old, and nothing half-done."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fake_chat_server import FakeChatServer, whole

from pytest_llmbench.datasets.files import write_rows, write_sides
from pytest_llmbench.datasets.making import make
from pytest_llmbench.datasets.order import Method, Order, Writer
from pytest_llmbench.datasets.row_formats import new_row
from pytest_llmbench.datasets.splitting import split_rows

MEGABYTE = 2**20
ROWS = 1200
LONG = "réponse " * 1250


def _row(number: int) -> dict[str, Any]:
    return new_row(f"{number:x} {number**3} question {number**5}", "Oui.", note=LONG)


def _chunk(number: int) -> dict[str, Any]:
    return {"title": f"Outil {number:x}", "text": f"{number} {LONG}", "description": f"{number} {LONG}"}


def _written(path: Path, record: Callable[[int], dict[str, Any]], count: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps(record(number), ensure_ascii=False) + "\n")
    return path


@pytest.fixture
def server() -> Iterator[FakeChatServer]:
    answer = json.dumps([{"question": "Un ?", "reponse": "Oui."}])
    serving = FakeChatServer(whole(choices=[{"message": {"content": answer}, "finish_reason": "stop"}]))
    yield serving
    serving.close()


@pytest.mark.parametrize("record", [_row, _chunk])
@pytest.mark.parametrize(("method", "count", "rows"), [("simple", None, ROWS), ("augmented", 40, 40), ("llm", 2, 1)])
def test_a_large_source_needs_little_memory(
    tmp_path: Path,
    server: FakeChatServer,
    record: Callable[[int], dict[str, Any]],
    method: Method,
    count: int | None,
    rows: int,
) -> None:
    source = _written(tmp_path / "source.jsonl", record, ROWS)
    writer = Writer(server.url, tmp_path / "out.journal")
    order = Order(source, method, "fr", count=count, writer=writer)
    small = _written(tmp_path / "small.jsonl", record, 3)
    with make(dataclasses.replace(order, source=small)):  # imports are not the source's
        pass
    tracemalloc.start()
    try:
        with make(order) as made:
            assert write_rows(tmp_path / "out.jsonl", made.rows) == rows
        assert tracemalloc.get_traced_memory()[1] < 3 * MEGABYTE < source.stat().st_size / 4
    finally:
        tracemalloc.stop()


def test_a_large_source_is_split_with_little_memory(tmp_path: Path) -> None:
    source = _written(tmp_path / "source.jsonl", _row, ROWS // 3)
    split_rows(_row(number) for number in range(9))  # imports are not the source's
    tracemalloc.start()
    try:
        with make(Order(source, "augmented", "fr")) as made:
            assert len(made.rows) > ROWS / 2
            write_sides(made.rows, split_rows(made.rows), tmp_path / "out.jsonl")
        assert tracemalloc.get_traced_memory()[1] < 3 * MEGABYTE < source.stat().st_size
    finally:
        tracemalloc.stop()
