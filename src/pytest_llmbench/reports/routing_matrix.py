"""The confusion matrix as it is drawn: where there are many tools, those confused most, and the others together."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.routing import NO_TOOL, UNKNOWN, Routing

MOST_TOOLS = 16
_OTHERS = "*"  # no tool can be called so
_OWN = 1000  # a fine-tune's confusions count before its base's, which often names nothing at all


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """How many answers, how many of them are right, and their share of the row."""

    count: int
    right: int
    share: float

    @property
    def text(self) -> str:
        """The count; of a cell that holds right and wrong ones, both."""
        if not self.count:
            return ""
        mixed = 0 < self.right < self.count
        return f"{self.right} + {self.count - self.right} ✗" if mixed else str(self.count)


@dataclasses.dataclass(frozen=True, slots=True)
class Matrix:
    """One variant's matrix: a row a tool that was expected, a column a tool that was expected or named."""

    routing: Routing
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Cell]]


@dataclasses.dataclass(frozen=True, slots=True)
class Matrices:
    """The variants' matrices, all with the same columns: `tools` have one each, `left_out` share one."""

    shown: Sequence[Matrix]
    tools: int
    left_out: int

    def label(self, tool: str, say: Words) -> str:
        """The name of a row or column."""
        special = {NO_TOOL: say("no tool"), UNKNOWN: say("unknown tool")}
        if tool == _OTHERS:
            return say("{count} others", count=self.left_out)
        return special.get(tool, tool)


def matrices(routings: Sequence[Routing], most: int = MOST_TOOLS) -> Matrices:
    """The matrices of `routings`, which share their labels, with at most `most` tools by name."""
    labels = routings[0].labels
    tools = [label for label in labels if label not in {NO_TOOL, UNKNOWN}]
    kept = set(tools) if len(tools) <= most else set(_most_confused(routings, tools, most))
    place = {label: label if label in kept or label in {NO_TOOL, UNKNOWN} else _OTHERS for label in labels}
    left_out = len(tools) - len(kept)
    names = [label for label in tools if label in kept] + ([_OTHERS] if left_out else [])
    columns = [*names, *(label for label in labels if label in {NO_TOOL, UNKNOWN})]
    return Matrices([_matrix(one, place, columns) for one in routings], len(kept), left_out)


def _most_confused(routings: Sequence[Routing], tools: Sequence[str], most: int) -> list[str]:
    weight: Counter[str] = Counter()
    for routing in routings:
        for (expected, named), count in routing.confusions():
            worth = count * (1 if routing.variant == BASE else _OWN)
            weight[expected] += worth
            weight[named] += worth
    return sorted(tools, key=lambda tool: -weight[tool])[:most]


def _matrix(routing: Routing, place: Mapping[str, str], columns: Sequence[str]) -> Matrix:
    counts: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for expected, row in zip(routing.labels, routing.counts, strict=True):
        for named, count in zip(routing.labels, row, strict=True):
            where = (place[expected], place[named])
            counts[where] += count
            right[where] += count if expected == named else 0
    totals = {row: sum(counts[row, column] for column in columns) for row in columns}
    rows = [row for row in columns if totals[row]]
    return Matrix(
        routing,
        rows,
        columns,
        [[_cell(counts[row, one], right[row, one], totals[row]) for one in columns] for row in rows],
    )


def _cell(count: int, right: int, total: int) -> Cell:
    return Cell(count, right, count / total)
