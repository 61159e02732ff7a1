"""What comparisons need of the rows of a large run, one array a column instead of one object a row."""

from __future__ import annotations

import datetime
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Required, TypedDict, overload

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ABSENT = math.inf  # no metric gives it: what is not finite is unscored


class ComparableRow(TypedDict, total=False):
    """One case of one epoch. `scores` are metric -> variant -> score.

    `prompt_sha` is the start of a SHA-256 over what is asked and expected: messages, keywords, tool, reference, calls.
    Cases of one `group` depend on each other. `lost` are the variants whose answer failed, timed out or ended before it
    was one; older baselines do not tell.
    """

    case: Required[str]
    category: Required[str]
    epoch: Required[int]
    prompt_sha: Required[str]
    scores: Required[Mapping[str, Mapping[str, float | None]]]
    group: str | None
    lost: Sequence[str]


class ColumnRows(Sequence[ComparableRow]):
    """Rows that are put together when they are asked for: some 200 bytes a row are in memory instead of 2,000."""

    def __init__(self, rows: Iterable[ComparableRow] = ()) -> None:
        self.names: list[str] = []
        self.epochs = array("L")
        self._categories, self._category_of = array("H"), dict[str, int]()
        self._shas: list[bytes] = []
        self._groups: dict[int, str] = {}
        self._lost: dict[int, Sequence[str]] = {}
        self._scores: dict[str, dict[str, array[float]]] = {}
        for row in rows:
            self.append(row)

    def append(self, row: ComparableRow) -> None:
        """Take in one more row."""
        place = len(self.names)
        self.names.append(row["case"])
        self.epochs.append(row["epoch"])
        self._categories.append(self._category_of.setdefault(row["category"], len(self._category_of)))
        self._shas.append(bytes.fromhex(row["prompt_sha"]))
        if (group := row.get("group")) is not None:
            self._groups[place] = group
        if lost := row.get("lost"):
            self._lost[place] = lost
        for metric, by_variant in row["scores"].items():
            columns = self._scores.setdefault(metric, {})
            for variant, score in by_variant.items():
                column = columns.setdefault(variant, array("d"))
                column.extend([_ABSENT] * (place - len(column)))
                column.append(math.nan if score is None else score)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> ComparableRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[ComparableRow]: ...
    def __getitem__(self, place: int | slice) -> ComparableRow | list[ComparableRow]:
        if isinstance(place, slice):
            return [self._row(one) for one in range(*place.indices(len(self)))]
        return self._row(range(len(self))[place])

    def __iter__(self) -> Iterator[ComparableRow]:
        return map(self._row, range(len(self)))

    def categories(self) -> list[str]:
        """The category of each row."""
        names = list(self._category_of)
        return [names[one] for one in self._categories]

    def groups(self) -> list[str | None]:
        """The group of each row."""
        return [self._groups.get(place) for place in range(len(self))] if self._groups else [None] * len(self)

    def asked(self) -> Iterator[tuple[str, str]]:
        """Case and `prompt_sha` of each row."""
        return zip(self.names, (sha.hex() for sha in self._shas), strict=True)

    def knows(self, metric: str) -> bool:
        """Whether any row was judged by this metric, scored or not."""
        return metric in self._scores

    def table(self, wanted: Sequence[tuple[str, str]]) -> tuple[NDArray[np.float64], int]:
        """(rows, wanted metrics of variants), NaN where there is no score, and how many of these there are."""
        found = np.full((len(self), len(wanted)), np.nan)
        for place, (metric, variant) in enumerate(wanted):
            if column := self._scores.get(metric, {}).get(variant):
                known = np.frombuffer(column, dtype=np.float64)
                found[: len(known), place] = np.where(np.isinf(known), np.nan, known)
        return found, int(np.isnan(found).sum())

    def _row(self, place: int) -> ComparableRow:
        row: ComparableRow = {
            "case": self.names[place],
            "category": list(self._category_of)[self._categories[place]],
            "epoch": self.epochs[place],
            "group": self._groups.get(place),
            "prompt_sha": self._shas[place].hex(),
            "scores": {
                metric: scores for metric, of in self._scores.items() if (scores := _scores_at(of, place)) is not None
            },
        }
        return {**row, "lost": self._lost[place]} if place in self._lost else row


class AnswerColumns:
    """One variant's answers, row by row up to the last that has one.

    `numbers` are the same for the same answer to the same case and epoch, `made` are the seconds of the clock in which
    they were made, NaN where that is unknown, and `cached` says whose answer came from the completion cache.
    """

    def __init__(self) -> None:
        self.numbers = array("q")
        self.made = array("d")
        self.cached = bytearray()

    def append(self, place: int, row: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Take in the answer of the row at this place."""
        gap = place - len(self.numbers)
        moment, took = answer.get("timestamp"), answer.get("latency_s")
        told = (row["case"], row["epoch"], moment, took, answer["text"], answer.get("reasoning"))
        self.numbers.extend([*[0] * gap, hash(told)])
        self.made.extend([*[math.nan] * gap, seconds_of(moment)])
        self.cached.extend([*[0] * gap, bool(answer.get("cached"))])


class GivenAnswers:
    """Which answers a run has, by variant, so that they are known again in a run that took them from the cache.

    `largest_batch` is, by variant, how many answers shared its fullest batch.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.of: dict[str, AnswerColumns] = {}
        self.largest_batch: dict[str, int] = {}
        self._rows = 0
        for row in rows:
            self.append(row)

    def append(self, row: Mapping[str, Any]) -> None:
        """Take in a run's next row."""
        for variant, answer in (row.get("completions") or {}).items():
            self.of.setdefault(variant, AnswerColumns()).append(self._rows, row, answer)
            self.largest_batch[variant] = max(self.largest_batch.get(variant, 1), answer.get("batch_size") or 1)
        self._rows += 1


def seconds_of(timestamp: str | None) -> float:
    """A moment in seconds, NaN where there is none: own backends need not tell it."""
    try:
        return datetime.datetime.fromisoformat(timestamp or "").timestamp()
    except ValueError:
        return math.nan


def changed_rows(
    rows: Sequence[ComparableRow], change: Callable[[ComparableRow], ComparableRow]
) -> Sequence[ComparableRow]:
    """Each row as `change` makes it anew, in columns where these rows are: a large run stays as small as it was."""
    changed = map(change, rows)
    return ColumnRows(changed) if isinstance(rows, ColumnRows) else list(changed)


def _scores_at(columns: Mapping[str, array[float]], place: int) -> dict[str, float | None] | None:
    found: dict[str, float | None] = {}
    for variant, column in columns.items():
        score = column[place] if place < len(column) else _ABSENT
        if score != _ABSENT:
            found[variant] = None if math.isnan(score) else score
    return found or None
