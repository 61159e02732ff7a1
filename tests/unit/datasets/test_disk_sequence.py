"""Values on disk that read back as they were, and texts that are known by their hashes."""

from __future__ import annotations

import os
import random
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.datasets.disk_sequence import Computed, KnownTexts, shuffled, spooled

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.lists(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=3), max_size=4), max_size=20)


@given(values=VALUES, seed=st.integers())
def test_values_come_back_as_they_were_in_any_order(values: list[dict[str, Any]], seed: int) -> None:
    with spooled(values) as spool:
        assert list(spool) == values
        order = shuffled(len(values), random.Random(seed))
        random.Random(seed).shuffle(values)
        assert [spool[place] for place in order] == values


def test_a_computed_sequence_is_a_sequence() -> None:
    squares = Computed(5, lambda place: place**2)
    assert (squares[-1], squares[1:3], list(squares), 9 in squares) == (16, [1, 4], [0, 1, 4, 9, 16], True)
    with pytest.raises(IndexError):
        squares[5]


@given(texts=st.lists(st.text(max_size=2)))
def test_a_text_is_new_once(texts: list[str]) -> None:
    with KnownTexts() as known:
        assert [text for text in texts if known.add(text)] == list(dict.fromkeys(texts))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def _values() -> Iterator[str]:
    while True:
        yield "é" * 1000


def _fill(known: KnownTexts) -> None:
    for number in range(10**5):
        known.add(str(number))


def test_what_is_on_disk_has_no_name_that_could_stay(folder: Path) -> None:
    with spooled(["a"]) as spool, KnownTexts() as known:
        assert spool[0] == "a"
        assert all(known.add(str(number)) for number in range(1000))
        assert not list(folder.iterdir())


def test_a_full_disk_is_told_with_the_folder_and_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.datasets.disk_sequence._CACHE_KIB", 64)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(NotReadyError, match=f"cannot keep rows in {folder} .*; free some space, or set TMPDIR"):
            spooled(_values()).__enter__()
        with KnownTexts() as known, pytest.raises(NotReadyError, match="set TMPDIR"):
            _fill(known)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not list(folder.iterdir())


def test_a_temporary_folder_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"{os.sep}none")
    with pytest.raises(NotReadyError, match="cannot keep rows in /none"), spooled([]):
        pass
