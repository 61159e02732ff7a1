"""A real run to start from: the committed example, with what a test changes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.runs.history import save

EXAMPLE = Path(__file__).parents[2] / "reports/example/benchmark.json"

MakeRun = Callable[..., dict[str, Any]]
SaveRun = Callable[..., Path]


@pytest.fixture(scope="session")
def _example_text() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


@pytest.fixture
def make_run(_example_text: str) -> MakeRun:
    """Makes the example's document with other metadata and, where `cases` is given, only its first results."""

    def make(*, cases: int | None = None, commit: str | None = None, dirty: bool = False, **metadata: Any) -> Any:
        document = json.loads(_example_text)
        document["metadata"] |= {"git": {"commit": commit, "dirty": dirty} if commit else None, **metadata}
        document["results"] = document["results"][:cases]
        return document

    return make


@pytest.fixture
def save_run(make_run: MakeRun) -> SaveRun:
    """Saves such a document of two cases as the next run in a folder of reports; returns its file."""

    def saved(reports: Path, name: str, **changed: Any) -> Path:
        return save(make_run(**{"cases": 2, **changed}), reports, name) / "run.json"

    return saved
