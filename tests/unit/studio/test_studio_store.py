"""The studio's database: its tables, one studio at a time, and what it says when it cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import InUseError
from pytest_llmbench.studio.store import Dataset, Record, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "studio")
    yield store
    store.close()


def test_the_migrations_make_the_tables_that_the_code_uses(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Record.metadata) == []
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_second_studio_on_the_same_folder_is_refused_until_the_first_ends(store: Store) -> None:
    with pytest.raises(InUseError, match="studio is in use: another studio is open on it; use that one"):
        open_store(store.folder)
    store.close()
    open_store(store.folder).close()


def test_a_database_of_a_newer_version_is_left_alone(store: Store) -> None:
    with store.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(NotReadyError, match="written by a newer version"):
        open_store(store.folder)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "studio.db").write_text("rows, rows, rows\n" * 100, encoding="utf-8")
    with pytest.raises(NotReadyError, match=r"studio\.db: file is not a database"):
        open_store(tmp_path)


def test_moments_come_back_in_utc_and_unfinished_writes_not_at_all(store: Store) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    def dataset(name: str) -> Dataset:
        shared = {"format": "csv", "path": "x", "bytes": 1, "rows": 1, "languages": {}, "statistics": {}}
        return Dataset(id=name, name=name, created=noon, **shared)

    with store.writing() as session:
        session.add(dataset("kept"))
    with pytest.raises(ZeroDivisionError), store.writing() as session:  # noqa: PT012
        session.add(dataset("lost"))
        session.flush()
        _ = 1 / 0
    with store.reading() as session:
        assert [one.created for one in session.query(Dataset)] == [noon.astimezone(UTC)]
