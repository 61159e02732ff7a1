"""What a dataset holds: rows, roles, turns and lengths, counted as the rows are read one by one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pytest_llmbench.datasets.row_formats import answer_text
from pytest_llmbench.datasets.rows import NumberedRow


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """Characters of the shortest, the mean and the longest text, and the line of the longest."""

    least: int
    mean: float
    most: int
    longest_line: int


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """`roles` counts messages, `turns` rows by how often the user speaks, `extra_keys` rows with keys of their own."""

    form: str
    rows: int
    roles: dict[str, int]
    turns: dict[int, int]
    prompt: Lengths
    answer: Lengths
    extra_keys: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The summary as JSON."""
        return dataclasses.asdict(self)


def summarise_rows(rows: Iterable[NumberedRow]) -> Summary:
    """Count the rows, which are read one by one.

    Raises:
        UsageError: as `rows.stream_rows` does; there are two rows at least.
    """
    roles: Counter[str] = Counter()
    turns: Counter[int] = Counter()
    extra: Counter[str] = Counter()
    prompts, answers = _Measure(), _Measure()
    form, count = "", 0
    for line, form, row in rows:  # noqa: B007 - one form a file, the last is the first
        count += 1
        said = [message["role"] for message in (*row["prompt"], *row["completion"])]
        roles.update(said)
        turns[said.count("user")] += 1
        extra.update(row.keys() - {"prompt", "completion"})
        prompts.add(line, sum(len(message["content"]) for message in row["prompt"]))
        answers.add(line, len(answer_text(row)))
    return Summary(form, count, dict(roles), dict(turns), prompts.lengths(count), answers.lengths(count), dict(extra))


class _Measure:
    def __init__(self) -> None:
        self._least: int | None = None
        self._most = self._line = self._sum = 0

    def add(self, line: int, length: int) -> None:
        self._sum += length
        self._least = length if self._least is None else min(self._least, length)
        if length > self._most:
            self._most, self._line = length, line

    def lengths(self, count: int) -> Lengths:
        return Lengths(self._least or 0, round(self._sum / count, 1), self._most, self._line)
