"""Cases in order: those of a large file stay there until they are asked for, and chunks of them become items."""

from __future__ import annotations

import dataclasses
import os
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

from pytest_llmbench.cases.case import Case
from pytest_llmbench.core.errors import UsageError


class _CaseList(Sequence[Case]):
    """Cases that are made when they are asked for; a slice of them is a view."""

    @abstractmethod
    def categories(self) -> Iterator[str]:
        """The category of each case, without making it."""

    @abstractmethod
    def _at(self, place: int) -> Case: ...

    @overload
    def __getitem__(self, place: int) -> Case: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Case]: ...
    def __getitem__(self, place: int | slice) -> Case | Sequence[Case]:
        places = range(len(self))[place]
        return CaseView(self, places) if isinstance(places, range) else self._at(places)


class StoredCases(_CaseList):
    """The cases of one file with a case a line, of which only the places are in memory: 18 bytes a case.

    Args:
        path: the file; it must stay as it is.
        read: makes a case of a line's text and number. The line was found to be right before.
    """

    def __init__(self, path: Path, read: Callable[[str, int], Case]) -> None:
        self._path, self._read = path, read
        self._offsets, self._lines, self._categories = array("Q"), array("Q"), array("H")
        self._names: dict[str, int] = {}
        found = path.stat()
        self._known = found.st_size, found.st_mtime_ns
        self._file: int | None = None

    def note(self, offset: int, line: int, category: str) -> None:
        """One more case, and where its line begins."""
        self._offsets.append(offset)
        self._lines.append(line)
        self._categories.append(self._names.setdefault(category, len(self._names)))

    def categories(self) -> Iterator[str]:
        """The category of each case, without a look into the file."""
        names = list(self._names)
        return (names[one] for one in self._categories)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getstate__(self) -> dict[str, object]:
        """Without the open file, which another process has not."""
        return self.__dict__ | {"_file": None}

    def _at(self, place: int) -> Case:
        """Raises UsageError where the file has changed, or is not on this machine."""
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDONLY)
            except OSError as error:
                raise UsageError(f"{self._path} cannot be read: {os.strerror(error.errno or 0)}") from error
            weakref.finalize(self, os.close, self._file)
        found = os.fstat(self._file)
        if (found.st_size, found.st_mtime_ns) != self._known:
            raise UsageError(f"{self._path} has changed since the session began; start it again")
        end = self._offsets[place + 1] if place + 1 < len(self) else self._known[0]
        text = os.pread(self._file, end - self._offsets[place], self._offsets[place])
        return self._read(text.decode("utf-8-sig"), self._lines[place])


class JoinedCases(_CaseList):
    """The cases of several files, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Case]]) -> None:
        self._parts = [part for part in parts if part]
        self._ends: list[int] = []
        for part in self._parts:
            self._ends.append(len(part) + (self._ends[-1] if self._ends else 0))

    def categories(self) -> Iterator[str]:
        """The category of each case."""
        for part in self._parts:
            yield from categories_of(part)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _at(self, place: int) -> Case:
        part = next(index for index, end in enumerate(self._ends) if place < end)
        return self._parts[part][place - (self._ends[part - 1] if part else 0)]


class CaseView(_CaseList):
    """Those of some cases that stand at `places`, in that order, each `epochs` times in a row."""

    def __init__(self, cases: Sequence[Case], places: Sequence[int], epochs: int = 1) -> None:
        self._cases, self._places, self._epochs = cases, places, epochs

    def categories(self) -> Iterator[str]:
        """The category of each case."""
        known = list(categories_of(self._cases))
        return (known[place] for place in self._places for _ in range(self._epochs))

    def __len__(self) -> int:
        return len(self._places) * self._epochs

    def _at(self, place: int) -> Case:
        at, epoch = divmod(place, self._epochs)
        case = self._cases[self._places[at]]
        return case if self._epochs == 1 else dataclasses.replace(case, epoch=epoch)


def categories_of(cases: Sequence[Case]) -> Iterator[str]:
    """The category of each case; those of a large file are known without reading it."""
    if isinstance(cases, _CaseList):
        return cases.categories()
    return (case.category for case in cases)


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Cases of one category that are one item: `places` are theirs among all `cases`, `name` tells which they are."""

    name: str
    all_cases: Sequence[Case] = dataclasses.field(repr=False)
    places: Sequence[int]

    @property
    def cases(self) -> Sequence[Case]:
        """The cases, read when they are asked for."""
        return CaseView(self.all_cases, self.places)


def chunked(cases: Sequence[Case], size: int) -> list[Chunk]:
    """The cases in chunks of at most `size`, by category, in the order in which categories begin.

    A chunk is called `category/1-1000`, by the place of its first and last case in the category.
    """
    places: dict[str, array[int]] = {}
    for place, category in enumerate(categories_of(cases)):
        places.setdefault(category, array("Q")).append(place)
    return [
        Chunk(f"{category}/{at + 1}-{min(at + size, len(found))}", cases, found[at : at + size])
        for category, found in places.items()
        for at in range(0, len(found), size)
    ]
