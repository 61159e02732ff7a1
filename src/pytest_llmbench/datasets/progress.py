"""What a long work on a dataset tells of how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pytest_llmbench.datasets.record_files import Progress

OnProgress = Callable[[str, int, int | None], None]
"""Told now and then what is being done, how much of it is done, and of how much, where that is known."""

_SHOWN = 1000  # rows between two reports

T = TypeVar("T")


def reading(path: Path, on_progress: OnProgress, what: str = "reading") -> Progress:
    """What is to be told how many bytes of a file were read."""
    size = path.stat().st_size if path.is_file() else None
    return lambda done: on_progress(what, done, size)


def counted(rows: Sequence[T], on_progress: OnProgress, what: str) -> Iterator[T]:
    """The rows one by one; it is told how many were taken."""
    for number, row in enumerate(rows):
        if number % _SHOWN == 0:
            on_progress(what, number, len(rows))
        yield row
    on_progress(what, len(rows), len(rows))
