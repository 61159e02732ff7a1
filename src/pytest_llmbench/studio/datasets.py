"""Uploaded datasets: taken in, listed, looked at, deleted and brought back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy import select

from pytest_llmbench.core.errors import LLMBenchError, NotReadyError
from pytest_llmbench.core.files import write_text
from pytest_llmbench.core.starter import present
from pytest_llmbench.datasets.summary import Summary
from pytest_llmbench.studio.models import Rows
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.reader_process import ReaderProcess, words_for_check, words_for_contents
from pytest_llmbench.studio.reading import Check, Contents, Row
from pytest_llmbench.studio.store import Dataset, NotFoundError, Store
from pytest_llmbench.studio.uploads import save_upload

_UNDO = timedelta(days=1)
_PART = ".part"
_SUMMARY = TypeAdapter(Summary)

_log = logging.getLogger("pytest_llmbench")


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class DatasetCard(_Document):
    """A dataset in a list. `languages` are those of its first rows, by how many are in each."""

    id: str = Field(examples=["6f1c0f6ad1f84cbd8f6df0bb35cbb1f1"])
    name: str = Field(description="as it was called when it was uploaded", examples=["commands.jsonl"])
    format: str = Field(examples=["jsonl"])
    bytes: int
    rows: int
    languages: dict[str, int]
    created: datetime
    deleted_at: datetime | None = Field(default=None, description="since when it waits to be brought back, or purged")


class CheckState(_Document):
    """Near-duplicates and contamination, looked for in the background from the first look at a dataset on."""

    state: Literal["running", "done", "failed"]
    check: Check | None = None
    problem: str | None = Field(default=None, description="why it failed, in the words of the command line")


class DatasetDetail(DatasetCard):
    """A dataset with its first rows, what it holds, and what is wrong with it."""

    statistics: Summary
    preview: tuple[Row, ...]
    checked: CheckState


class DatasetList(_Document):
    """All datasets, the newest first."""

    datasets: tuple[DatasetCard, ...]


class Datasets:
    """The datasets of a store. Their files carry the dataset's id and never the name that they were uploaded with."""

    def __init__(self, store: Store, options: StudioOptions) -> None:
        self._store, self._options = store, options
        self._folder = store.folder / "datasets"
        self._reader = ReaderProcess(options.settings.studio)
        self._checks: dict[str, tuple[str, asyncio.Task[CheckState]]] = {}

    def start(self) -> None:
        """Clear away uploads that broke off, and the files of datasets that were deleted a day ago."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"*{_PART}*"):
            path.unlink()
        with self._store.reading() as session:
            old = session.scalars(select(Dataset).where(Dataset.deleted_at < datetime.now(UTC) - _UNDO)).all()
        for dataset in old:
            self._clear(dataset.id)

    async def close(self) -> None:
        """End the checks that still run."""
        tasks = [task for _, task in self._checks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def upload(
        self, body: AsyncIterator[bytes], content_type: str, *, name: str | None = None, length: int | None = None
    ) -> DatasetCard:
        """Take in a file: a form's field `file`, or the body itself. `length` is what the request says of its size.

        Raises:
            UsageError: it is no dataset; the lines that are wrong are named.
            NotReadyError: the disk has too little room.
        """
        self._refuse_full_disk(length or 0)
        key = uuid.uuid4().hex
        part = self._folder / f"{key}{_PART}"
        try:
            upload = await save_upload(body, content_type, name, part)
            path = part.replace(self._folder / f"{key}{_PART}{upload.format}")
            contents = await self._reader.read(
                Contents, upload.name, words_for_contents(path, self._options.settings.studio.rows)
            )
            path = path.replace(self._folder / f"{key}{upload.format}")
            write_text(self._preview(key), contents.model_dump_json(include={"preview"}))
        except BaseException:  # refused, or whoever sent it is gone
            self._clear(key)
            raise
        dataset = Dataset(
            id=key,
            name=upload.name,
            format=upload.format.removeprefix("."),
            path=str(path.relative_to(self._store.folder)),
            bytes=upload.bytes,
            rows=contents.statistics.rows,
            languages=contents.languages,
            statistics=contents.statistics.to_json(),
            created=datetime.now(UTC),
            deleted_at=None,
        )
        await asyncio.to_thread(self._add, dataset)
        return card(dataset)

    def list(self, *, deleted: bool = False) -> Sequence[DatasetCard]:
        """The datasets, the newest first; or those that were deleted and can be brought back."""
        chosen = Dataset.deleted_at.is_not(None) if deleted else Dataset.deleted_at.is_(None)
        with self._store.reading() as session:
            found = session.scalars(select(Dataset).where(chosen).order_by(Dataset.created.desc())).all()
        return [card(dataset) for dataset in found if not deleted or self._file(dataset).is_file()]

    def get(self, key: str) -> Dataset:
        """One dataset that is not deleted. Raises NotFoundError."""
        with self._store.reading() as session:
            dataset = session.get(Dataset, key)
        if dataset is None or dataset.deleted_at is not None:
            deleted = "" if dataset is None else " any more: it was deleted, and can be restored for a day"
            raise NotFoundError(f"there is no dataset {key!r:.40}{deleted}", names=("dataset_id",))
        return dataset

    def detail(self, key: str) -> DatasetDetail:
        """One dataset with its first rows and its check, as far as that is; call it in the event loop.

        Raises:
            NotFoundError: there is none of this id.
        """
        dataset = self.get(key)
        preview = _Preview.model_validate_json(self._preview(key).read_bytes()).preview
        return DatasetDetail(
            **dict(card(dataset)),
            statistics=_SUMMARY.validate_python(dataset.statistics),
            preview=preview,
            checked=self._check_state(dataset),
        )

    def size(self, dataset: Dataset) -> Rows:
        """What an estimate must know of a dataset."""
        found = _SUMMARY.validate_python(dataset.statistics)
        return Rows(dataset.rows, found.prompt.mean + found.answer.mean)

    def delete(self, key: str) -> DatasetCard:
        """Hide a dataset; it can be restored for a day. Raises NotFoundError."""
        return self._mark(self.get(key).id, datetime.now(UTC))

    def restore(self, key: str) -> DatasetCard:
        """Bring back a deleted dataset. Raises NotFoundError where there is none, or its file was purged."""
        with self._store.reading() as session:
            dataset = session.get(Dataset, key)
        if dataset is None or not self._file(dataset).is_file():
            raise NotFoundError(f"there is no dataset {key!r:.40} to restore; upload it again", names=("dataset_id",))
        return self._mark(key, None)

    def _mark(self, key: str, deleted_at: datetime | None) -> DatasetCard:
        with self._store.writing() as session:
            dataset = session.get_one(Dataset, key)
            dataset.deleted_at = deleted_at
        return card(dataset)

    def _add(self, dataset: Dataset) -> None:
        key = dataset.id
        try:
            with self._store.writing() as session:
                session.add(dataset)
        except NotReadyError:  # the disk is full
            self._clear(key)
            raise

    def _clear(self, key: str) -> None:
        """Remove a dataset's files."""
        for path in self._folder.glob(f"{key}*"):
            path.unlink()

    def _file(self, dataset: Dataset) -> Path:
        return self._store.folder / dataset.path

    def _preview(self, key: str) -> Path:
        return self._folder / f"{key}.preview"

    def _refuse_full_disk(self, length: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if length > free:
            raise NotReadyError(
                f"the file has {length / 2**20:.0f} MiB, and {self._folder} has room for {free / 2**20:.0f} MiB; "
                "free some space or choose another folder",
                names=("studio.folder",),
            )

    def _check_state(self, dataset: Dataset) -> CheckState:
        """What was found, or that it is being looked for; looked for again where the suites changed since.

        A check that failed is begun again by the next studio, which may allow it more time or memory.
        """
        suites, vocabulary = self._suites()
        now = _signature([*suites, vocabulary])
        read, task = self._checks.get(dataset.id, (now, None))
        if task is None and (kept := self._kept_check(dataset.id, now)):
            return kept
        if task is None or (task.done() and read != now):
            task = asyncio.create_task(self._check(dataset, now))
            self._checks[dataset.id] = now, task
        return task.result() if task.done() else CheckState(state="running")

    async def _check(self, dataset: Dataset, signature: str) -> CheckState:
        """Look, and keep what was found with the suites' `signature` of before: they may change while it looks."""
        suites, vocabulary = self._suites()
        path = self._file(dataset)
        try:
            check = await self._reader.read(Check, dataset.name, words_for_check(path, suites, vocabulary))
        except LLMBenchError as error:
            return CheckState(state="failed", problem=str(error))
        state = CheckState(state="done", check=check)
        kept = json.dumps({"suites": signature, "state": state.model_dump(mode="json")})
        try:
            await asyncio.to_thread(write_text, self._check_file(dataset.id), kept)
        except NotReadyError as error:
            _log.warning("%s is checked again next time: %s", dataset.name, error)
        else:
            self._checks.pop(dataset.id, None)
        return state

    def _kept_check(self, key: str, signature: str) -> CheckState | None:
        file = self._check_file(key)
        if not file.is_file():
            return None
        kept = json.loads(file.read_text(encoding="utf-8"))
        state = CheckState.model_validate(kept["state"])
        return state if kept["suites"] == signature and state.state == "done" else None

    def _check_file(self, key: str) -> Path:
        return self._folder / f"{key}.check"

    def _suites(self) -> tuple[Sequence[Path], Path]:
        """The project's suites and vocabulary; starter ones where it has none, as the benchmark asks them then."""
        chosen = self._options.settings.benchmark
        return [present(path) for path in chosen.prompts], present(chosen.vocabulary)


class _Preview(_Document):
    preview: tuple[Row, ...]


def card(dataset: Dataset) -> DatasetCard:
    """A dataset as lists show it."""
    return DatasetCard.model_validate(dataset, from_attributes=True)


def _signature(paths: Sequence[Path]) -> str:
    """Of the files' names, sizes and dates: whether they are still those that were read."""
    files = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    seen = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()
