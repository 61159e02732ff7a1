"""The rows that a training takes: read through once before anything is loaded, so that what is wrong shows early."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases import load_cases, load_vocabulary
from pytest_llmbench.datasets.files import file_sha256
from pytest_llmbench.errors import UsageError
from pytest_llmbench.training.contamination import contamination, contamination_sentence
from pytest_llmbench.training.record_files import Progress
from pytest_llmbench.training.rows import stream_rows
from pytest_llmbench.training.sft import TrainingStopped
from pytest_llmbench.training.tokenized import TokenizedRows, tokenize_file

if TYPE_CHECKING:
    from pytest_llmbench.finetuning.request import FinetuneRequest
    from pytest_llmbench.training.sft import Watch

logger = logging.getLogger("pytest_llmbench")


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetFile:
    """A dataset that reads well: how many rows it has, and the roles that speak in them."""

    path: Path
    sha256: str
    rows: int
    roles: frozenset[str]

    def recorded(self) -> dict[str, Any]:
        """What a training's record says of it."""
        return {"name": self.path.name, "sha256": self.sha256, "rows": self.rows}

    def tokenized(self, tokenizer: Any, limit: int, *, kept: Path, base: str, watch: Watch) -> TokenizedRows:
        """Its rows as the base reads them, kept in a file; see `training.tokenized`."""
        return tokenize_file(
            self.path,
            tokenizer,
            limit,
            kept=kept,
            identity={"dataset": self.sha256, "base": base},
            progress=_watched(watch, "tokenizing", self.path),
        )


def read_through(path: Path, watch: Watch) -> DatasetFile:
    """Look at every row of a dataset, one by one.

    Raises:
        UsageError: a row is wrong; see `training.rows.stream_rows`.
        TrainingStopped: `watch.stop` said so.
    """
    seen = _Seen()
    for _ in seen.rows(path, watch):
        pass
    return seen.file(path)


def read_beside_suites(request: FinetuneRequest, watch: Watch) -> DatasetFile:
    """Look at every row of the request's dataset, and warn of those that come near to a case of its suites.

    Raises:
        UsageError: a row is wrong; or one comes near to a case, and the request is strict.
        TrainingStopped: `watch.stop` said so.
    """
    vocabulary = load_vocabulary(request.vocabulary) if request.vocabulary else None
    cases = load_cases(list(request.suites), vocabulary) if request.suites else []
    seen = _Seen()
    if matches := contamination(seen.rows(request.dataset, watch), cases):
        told = contamination_sentence(matches, request.dataset.name)
        if request.strict:
            raise UsageError(f"{told}; leave out those that `llmbench dataset check {request.dataset}` lists")
        logger.warning("%s; llmbench dataset check %s lists them", told, request.dataset)
    return seen.file(request.dataset)


def _watched(watch: Watch, doing: str, path: Path) -> Progress:
    """Tells how far a dataset is read, and ends it when it shall stop: large ones take minutes."""
    size = path.stat().st_size if path.is_file() else 0

    def progress(done: int) -> None:
        if watch.stop():
            raise TrainingStopped(f"stopped while {doing} {path.name}, before the first step")
        watch.on_reading(f"{doing} {path.name}", done, size)

    return progress


class _Seen:
    """What is noted of rows while they pass."""

    def __init__(self) -> None:
        self._count = 0
        self._roles: set[str] = set()

    def rows(self, path: Path, watch: Watch) -> Iterator[Mapping[str, Any]]:
        for numbered in stream_rows(path, _watched(watch, "reading", path)):
            self._count += 1
            self._roles.update(message["role"] for part in ("prompt", "completion") for message in numbered.row[part])
            yield numbered.row

    def file(self, path: Path) -> DatasetFile:
        return DatasetFile(path, file_sha256(path), self._count, frozenset(self._roles))
