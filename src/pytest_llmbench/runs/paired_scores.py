"""One metric before and after, case by case and epoch by epoch: what a gate's questions are asked of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.row_columns import ColumnRows, ComparableRow
from pytest_llmbench.stats import Hypothesis, SideScores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ROUNDING = 1e-9  # of a score; scores have six digits
_MOST = 1e100  # the squares of greater ones cannot be summed


@dataclass(frozen=True, slots=True)
class PairedScores:
    """The scores of the same cases before and after, (cases, epochs) each, NaN where unscored.

    `common` says which epochs both runs have, `groups` to which group (0, 1, …) each case belongs: None where each
    stands for itself.
    """

    cases: NDArray[np.object_]
    groups: NDArray[np.int64] | None
    common: NDArray[np.bool_]
    before: Floats
    after: Floats

    def where(self, chosen: NDArray[np.bool_]) -> PairedScores:
        """Those of some cases only."""
        groups = None if self.groups is None else np.unique(self.groups[chosen], return_inverse=True)[1]
        return PairedScores(self.cases[chosen], groups, self.common, self.before[chosen], self.after[chosen])

    def on_both_sides(self) -> NDArray[np.bool_]:
        """Which cases have a score on either side."""
        before, after = _scored(self.before), _scored(self.after)
        return _in_any_epoch(before) & _in_any_epoch(after)

    def on_one_side(self) -> NDArray[np.bool_]:
        """Which cases have a score that the other side lacks, in an epoch that both runs have."""
        before, after = _scored(self.before), _scored(self.after)
        one_answer = _in_any_epoch((before ^ after) & self.common)
        whole_case = _in_any_epoch(before) ^ _in_any_epoch(after)
        return one_answer | whole_case

    def means(self) -> tuple[Floats, Floats]:
        """Each case's mean over its epochs, before and after; for cases that are scored on both sides."""
        return np.nanmean(self.before, axis=1), np.nanmean(self.after, axis=1)

    def hypothesis(self, sign: float, margin: float, weight: float, unit: str | None) -> Hypothesis:
        """Whether they got worse or better, with all answers of either side; for cases scored on both.

        `sign` is -1 for a metric of which less is better, `unit` what it is measured in.
        """
        before, after = (SideScores.of_table(sign * side) for side in (self.before, self.after))
        return Hypothesis(before, after, margin, weight, self.groups, unit)


class CaseGrid:
    """Where two runs meet: a line for each case that both have, in the later one's order, a column for each epoch."""

    def __init__(self, before: Comparable, after: Comparable) -> None:
        self._runs = (before, after)
        self._columns = [_columns(run.rows) for run in self._runs]
        names, epochs = [side.names for side in self._columns], [side.epochs for side in self._columns]
        earlier = set(names[0])
        of_cases = dict(zip(names[1], self._columns[1].categories(), strict=True))
        categories = {case: category for case, category in of_cases.items() if case in earlier}
        self._cases = np.array(list(categories), dtype=object)
        self.categories = np.array(list(categories.values()), dtype=object)
        self._groups = _groups(categories, self._columns)
        lines = {case: line for line, case in enumerate(categories)}
        self.epochs = sorted({*epochs[0], *epochs[1]})
        columns = {epoch: column for column, epoch in enumerate(self.epochs)}
        self._common = np.isin(self.epochs, epochs[0]) & np.isin(self.epochs, epochs[1])
        spare = len(lines)  # one more line, for the cases that the other run lacks
        self._shape = (spare + 1, len(columns))
        self._cells = [
            (
                np.array([lines.get(name, spare) for name in names[side]], dtype=np.int64),
                np.array([columns[epoch] for epoch in epochs[side]], dtype=np.int64),
            )
            for side in (0, 1)
        ]

    def scores(self, pairs: Sequence[tuple[str, str]], metrics: Sequence[str]) -> list[PairedScores]:
        """What each pair of variants, one of the earlier run and one of the later, scored in each metric.

        Raises:
            UsageError: a score is no number, or beyond any that a metric gives.
        """
        before, after = (self._tables(side, [pair[side] for pair in pairs], metrics) for side in (0, 1))
        return [
            PairedScores(self._cases, self._groups, self._common, *sides) for sides in zip(before, after, strict=True)
        ]

    def knows(self, metric: str) -> bool:
        """Whether any answer of either run was judged by this metric, scored or not."""
        return any(side.knows(metric) for side in self._columns)

    def _tables(self, side: int, variants: Sequence[str], metrics: Sequence[str]) -> Floats:
        """(variants x metrics, cases, epochs)."""
        wanted = [(metric, variant) for variant in variants for metric in metrics]
        scores, unscored = self._columns[side].table(wanted)
        if int((~(np.abs(scores) <= _MOST)).sum()) > unscored:
            _refuse(self._runs[side], wanted)
        tables = np.full((*self._shape, len(wanted)), np.nan)
        tables[self._cells[side]] = scores
        return np.ascontiguousarray(np.moveaxis(tables[:-1], 2, 0))


def change(before: Any, after: Any) -> Any:
    """After minus before; 0 where they differ by rounding alone, as 0.1 + 0.2 and 0.3 do."""
    found = after - before
    found[np.abs(found) <= _ROUNDING * np.maximum(np.abs(before), np.abs(after))] = 0
    return found


class _RowColumns:
    """The columns of rows that are in memory."""

    def __init__(self, rows: Sequence[ComparableRow]) -> None:
        self._rows = rows
        self.names: list[str] = list(map(itemgetter("case"), rows))
        self.epochs: list[int] = list(map(itemgetter("epoch"), rows))
        self._scores = [row["scores"] for row in rows]

    def categories(self) -> list[str]:
        return list(map(itemgetter("category"), self._rows))

    def groups(self) -> list[str | None]:
        return [row.get("group") for row in self._rows]

    def knows(self, metric: str) -> bool:
        return any(metric in scores for scores in self._scores)

    def table(self, wanted: Sequence[tuple[str, str]]) -> tuple[Floats, int]:
        unmeasured: dict[str, float | None] = {}
        # all of a row at once: with many rows, finding them again costs more than reading them
        found = [row.get(metric, unmeasured).get(variant) for row in self._scores for metric, variant in wanted]
        scores = np.array(found, dtype=np.float64).reshape(len(self._scores), len(wanted))
        return scores, found.count(None)


def _columns(rows: Sequence[ComparableRow]) -> _RowColumns | ColumnRows:
    return rows if isinstance(rows, ColumnRows) else _RowColumns(rows)


def _groups(categories: Mapping[str, str], sides: Sequence[_RowColumns | ColumnRows]) -> NDArray[np.int64] | None:
    """To which group each case belongs, a group being of one category; a case without is one of its own."""
    told = [(side.names, side.groups()) for side in sides]
    named = {
        case: group
        for names, groups in told
        for case, group in zip(names, groups, strict=True)
        if group is not None and case in categories
    }
    if not named:
        return None
    keys = [
        (category, named[case]) if case in named else (category, None, case) for case, category in categories.items()
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _scored(scores: Floats) -> NDArray[np.bool_]:
    return ~np.isnan(scores)


def _in_any_epoch(answers: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(answers.any(axis=1))


def _refuse(run: Comparable, wanted: Sequence[tuple[str, str]]) -> None:
    for row in run.rows:
        for metric, variant in wanted:
            score = row["scores"].get(metric, {}).get(variant)
            if score is not None and not abs(score) <= _MOST:
                where = f"{run.path or run.name}: {row['case']}, epoch {row['epoch']}"
                raise UsageError(
                    f"{where}: {metric} of {variant} is {score:g}, which cannot be compared; was the file edited?"
                )
