"""Values that are too many for memory: on disk and read back in any order, and texts known by their hashes.

The files have no name where the system can do that, so that nothing is left behind, however the program ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, Generic, Self, TypeVar, overload

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.files import fitting

_CACHE_KIB = 32 * 1024  # of the hashes; beyond, they are looked up on disk

T = TypeVar("T")


class Computed(Sequence[T], Generic[T]):
    """A sequence whose values are made each time they are looked at."""

    def __init__(self, size: int, value: Callable[[int], T]) -> None:
        self._places = range(size)
        self._value = value

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return [self._value(each) for each in self._places[place]]
        return self._value(self._places[place])

    def __iter__(self) -> Iterator[T]:
        return map(self._value, self._places)


@contextlib.contextmanager
def spooled(values: Iterable[Any]) -> Iterator[Sequence[Any]]:
    """Write JSON values to a temporary file and give them back in any order, while in the `with`.

    Memory is 8 bytes a value.

    Raises:
        NotReadyError: the temporary folder is full.
    """
    with _temporary_file() as file:
        starts = array("Q", [0])
        for value in values:
            starts.append(starts[-1] + _write(file, json.dumps(value, ensure_ascii=False).encode()))
        _flush(file)
        yield Computed(len(starts) - 1, lambda place: _read(file, starts[place], starts[place + 1]))


def shuffled(size: int, rng: random.Random) -> Sequence[int]:
    """The numbers below `size` in a random order, the one that `rng.shuffle` brings a list of that size into."""
    order = array("I", range(size))
    rng.shuffle(order)
    return order


class KnownTexts:
    """Tells which texts were met before, by 64 bits of their hashes on disk: memory does not grow. Use it in a `with`.

    One pair in 2**64 is taken for the same; of ten million texts, one in 400,000 sets has such a pair.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a file without a name in the temporary folder
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._database.execute("CREATE TABLE texts (hash INTEGER PRIMARY KEY)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, text: str) -> bool:
        """Remember a text; tells whether it is new.

        Raises:
            NotReadyError: the temporary folder is full.
        """
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        number = int.from_bytes(digest, signed=True)
        try:
            return self._database.execute("INSERT OR IGNORE INTO texts VALUES (?)", (number,)).rowcount == 1
        except sqlite3.Error as error:
            raise full_folder(error) from error


@contextlib.contextmanager
def _temporary_file() -> Iterator[IO[bytes]]:
    try:
        file = tempfile.TemporaryFile(prefix="llmbench-")  # noqa: SIM115 - closed below, where it may fail
    except OSError as error:
        raise full_folder(error) from error
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # what a full disk did not take before it does not take now
            file.close()


def _write(file: IO[bytes], data: bytes) -> int:
    try:
        return file.write(data)
    except OSError as error:
        raise full_folder(error) from error


def _flush(file: IO[bytes]) -> None:
    try:
        file.flush()
    except OSError as error:
        raise full_folder(error) from error


def _read(file: IO[bytes], start: int, end: int) -> Any:
    file.seek(start)
    return json.loads(file.read(end - start))


def full_folder(error: Exception) -> NotReadyError:
    """The error that tells what the temporary folder refused, and what to do."""
    folder = tempfile.tempdir or "the temporary folder"  # it has no name where none can be written to
    reason = getattr(error, "strerror", None) or error
    remedy = fitting("free some space, or set TMPDIR to a folder with more", error)
    return NotReadyError(f"cannot keep rows in {folder} ({reason}); {remedy}")
