"""The results of a large run, beside its file: compressed JSON lines in parts of some thousand, read when asked for.

A part is written whole when its cases are done, by whatever process, so that a session holds none of them in memory.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import gzip
import json
import shutil
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, overload

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.core.files import cannot_write, locked, replacing
from pytest_llmbench.core.records import CaseResult, Completion

RESULTS = "results"
"""The folder of the parts, in a run's folder."""

Found = TypeVar("Found")
Row = Mapping[str, Any]
"""One entry of a document's `results`."""

_LEVEL = 1  # of compression: a tenth of the bytes, in a tenth of the time of the best
_SPARE = 1_000_000_000
"""The place of results of cases that no suite has: behind all others."""
_KEPT_PARTS = 4


class ResultParts(Sequence[Row]):
    """The rows of a run in the order of its cases; a few parts are in memory at a time.

    Raises:
        UsageError: when a row is asked for whose part is gone, cut off or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = sorted(path.name for path in folder.glob("*.jsonl.gz"))
        self._ends: list[int] = []
        for name in self._names:
            self._ends.append(_count(folder / name) + (self._ends[-1] if self._ends else 0))
        self._rows = functools.lru_cache(_KEPT_PARTS)(_read)
        self._found: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        part = bisect.bisect_right(self._ends, at)
        rows = self._rows(self.folder / self._names[part])
        return cast("Row", json.loads(rows[at - (self._ends[part - 1] if part else 0)]))

    def __iter__(self) -> Iterator[Row]:
        for lines in self.lines():
            yield from map(json.loads, lines)

    def once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What `find` finds in these rows, which do not change: looked for once."""
        if key not in self._found:
            self._found[key] = find()
        found: Found = self._found[key]
        return found

    def lines(self) -> Iterator[list[bytes]]:
        """The rows as JSON, a part at a time."""
        return (_read(self.folder / name) for name in self._names)

    def moved(self, folder: Path) -> None:
        """The run's folder was given its number, and these parts with it."""
        self.folder = folder / RESULTS


def write_part(folder: Path, place: int, rows: Sequence[Row]) -> None:
    """Write the rows of the cases from `place` on; those that are there already stay, but for an outcome that fell.

    A second test of the same cases may end later, in another process.

    Raises:
        NotReadyError: the disk refuses.
    """
    name = f"{place:012}"
    with locked(folder / f"{name}.lock"):
        known = {_place(row): row for path in folder.glob(f"{name}-*") for row in map(json.loads, _read(path))}
        for row in rows:
            before = known.setdefault(_place(row), row)
            if row["outcome"] == "failed":
                known[_place(row)] = {**before, "outcome": "failed"}
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in known.values())
        path = folder / f"{name}-{len(known)}.jsonl.gz"
        older = [one for one in folder.glob(f"{name}-*") if one != path]
        with replacing(path) as temporary:
            temporary.write_bytes(gzip.compress(text.encode(), _LEVEL, mtime=0))
        for one in older:
            one.unlink()


def add_others(folder: Path, rows: Sequence[Row]) -> None:
    """The rows of cases that no chunk has. Raises NotReadyError when the disk refuses."""
    if rows:
        write_part(folder, _SPARE, rows)


def settle(folder: Path, run_folder: Path) -> ResultParts:
    """The parts of a session that has ended, as those of its run; parts of a session before it go.

    Raises:
        NotReadyError: the disk refuses.
    """
    settled = run_folder / RESULTS
    try:
        for lock in folder.glob("*.lock"):
            lock.unlink()
        for older in run_folder.glob(f"{RESULTS}*"):
            if older != folder:
                shutil.rmtree(older)
        folder.replace(settled)
    except OSError as error:
        raise cannot_write(settled, error) from error
    return ResultParts(settled)


def copy_parts(parts: Iterable[Row], folder: Path) -> None:
    """The same parts in another run's folder. Raises NotReadyError when the disk refuses."""
    if isinstance(parts, ResultParts):
        try:
            shutil.copytree(parts.folder, folder / RESULTS)
        except OSError as error:
            raise cannot_write(folder / RESULTS, error, "free some space") from error


def case_result_of(row: Row) -> CaseResult:
    """The record that a row was made of; texts are as long as the row has them."""
    completions = {
        variant: Completion.from_json({**answer, "case": row["case"], "epoch": row["epoch"], "variant": variant})
        for variant, answer in row["completions"].items()
    }
    return CaseResult(
        category=row["category"],
        prompt_id=row["prompt_id"],
        epoch=row["epoch"],
        prompt=row["prompt"],
        keywords=tuple(row["keywords_expected"]),
        tool=row["tool"],
        reference=row["reference"],
        completions=completions,
        scores=row["scores"],
        outcome=row["outcome"],
        timestamp=row["timestamp"],
        messages_sha256=row["messages_sha256"],
        calls=row["calls"],
        reasons=row["reasons"],
        group=row["group"],
    )


class CaseResults(Sequence[CaseResult]):
    """The rows of a large run as the records that hooks are given, each made when it is asked for."""

    def __init__(self, rows: ResultParts) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> CaseResult: ...
    @overload
    def __getitem__(self, place: slice) -> list[CaseResult]: ...
    def __getitem__(self, place: int | slice) -> CaseResult | list[CaseResult]:
        if isinstance(place, slice):
            return [case_result_of(row) for row in self._rows[place]]
        return case_result_of(self._rows[place])

    def __iter__(self) -> Iterator[CaseResult]:
        return map(case_result_of, self._rows)


def _place(row: Row) -> tuple[str, int]:
    return row["case"], row["epoch"]


def _count(path: Path) -> int:
    """How many rows a part has: its name tells."""
    _, _, count = path.name.partition(".")[0].partition("-")
    if not count.isdecimal():
        raise UsageError(f"{path}: not a part of a run's results; take it out of the folder")
    return int(count)


def _read(path: Path) -> list[bytes]:
    with contextlib.suppress(OSError, EOFError, zlib.error):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        if len(lines) == _count(path):
            return lines
    raise UsageError(
        f"{path}: this part of a run's results is gone, cut off or damaged; take another copy or run again"
    )
