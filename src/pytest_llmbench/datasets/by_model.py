"""Datasets that a served model writes: the work is parted, its answers are read strictly, what is refused is told."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmbench.cases import load_vocabulary
from pytest_llmbench.errors import UsageError
from pytest_llmbench.training.asking import Assignment, about_chunk, about_tool, again, like_row, read_answer
from pytest_llmbench.training.chunks import read_chunks
from pytest_llmbench.training.overlap import bare
from pytest_llmbench.training.row_forms import answer_text, new_row
from pytest_llmbench.training.rows import read_rows
from pytest_llmbench.training.writers import AnswerJournal

if TYPE_CHECKING:
    from pytest_llmbench.datasets.making import Order, Origin

_ROWS_A_TIME = 5  # without a count
_MOST_A_TIME = 10  # small models lose count of more
_SPARE = 1.25  # rows asked for per row ordered, since some are refused

RowMaker = Callable[[str, str], dict[str, Any]]
Subject = tuple[Callable[[int], Assignment], RowMaker]
Job = tuple[Assignment, RowMaker]


def write(
    order: Order, origin: Origin, on_answer: Callable[[int, int], None]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that the model wrote, and notes on what was refused.

    Raises:
        UsageError: no server is named, or the source is wrong.
        ServerError: the server is gone; its answers so far are in the journal.
    """
    from pytest_llmbench.training.writers import ask_all

    writer = order.writer
    if writer is None:
        raise UsageError("--method llm needs the --server that writes the rows, such as http://127.0.0.1:8000")
    jobs = _jobs(list(_subjects(order, origin)), order.count, order.seed)
    done = itertools.count(1)
    journal = _CountingJournal(writer.journal)
    answers = ask_all(
        [assignment for assignment, _ in jobs],
        url=writer.url,
        model=writer.model,
        key=writer.key,
        seed=order.seed,
        journal=journal,
        concurrency=writer.concurrency,
        on_answer=lambda: on_answer(next(done), len(jobs)),
    )
    rows, notes = _read(jobs, answers)
    answered = sum(answer is not None for answer in answers)
    return rows, notes + _kept(writer.journal, answered, answered - journal.added)


class _CountingJournal(AnswerJournal):
    """Tells how many answers are new."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.added = 0

    def add(self, key: str, answer: str) -> None:
        super().add(key, answer)
        self.added += 1


def _kept(journal: Path, answered: int, reused: int) -> list[str]:
    """Where the answers are, and how to get others."""
    if not answered:
        return []
    anew = "delete it, or give another --seed, to ask anew"
    if reused:
        return [f"{reused} of {answered} answers were not asked for again but taken from {journal}; {anew}"]
    return [f"the model's answers are kept in {journal}, where the same command finds them; {anew}"]


def _subjects(order: Order, origin: Origin) -> Iterator[Subject]:
    def plain(question: str, answer: str) -> dict[str, Any]:
        return new_row(question, answer, order.system, kind="llm")

    match origin:
        case "chunks":
            for chunk in read_chunks(order.source):
                yield functools.partial(about_chunk, chunk.title, chunk.text), plain
        case "rows":
            for row in read_rows(order.source):
                yield _rephrasing(row)
        case "templates" | "vocabulary":
            tools = load_vocabulary(order.source if origin == "vocabulary" else order.vocabulary).tools
            for tool, terms in tools.items():
                yield functools.partial(about_tool, tool, terms), plain


def _rephrasing(row: dict[str, Any]) -> Subject:
    question, answer = row["prompt"][-1], answer_text(row)

    def to_row(asked: str, _said: str) -> dict[str, Any]:
        return {**row, "prompt": [*row["prompt"][:-1], {**question, "content": asked}], "kind": "llm"}

    return functools.partial(like_row, question["content"], answer), to_row


def _jobs(subjects: list[Subject], count: int | None, seed: int) -> list[Job]:
    """What is asked for, evenly over the subjects."""
    random.Random(f"{seed}/subjects").shuffle(subjects)  # noqa: S311 - reproducible on purpose, nothing secret
    if count is None:
        return [(ask(_ROWS_A_TIME), to_row) for ask, to_row in subjects]
    wanted = math.ceil(count * _SPARE)
    each = min(_MOST_A_TIME, math.ceil(wanted / max(len(subjects), 1)))
    jobs: list[Job] = []
    for series in itertools.count(1):
        for ask, to_row in subjects:
            if len(jobs) * each >= wanted:
                return jobs
            jobs.append((ask(each) if series == 1 else again(ask(each), series), to_row))
        if not subjects:
            return jobs
    return jobs


def _read(jobs: list[Job], answers: list[str | None]) -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    seen: set[str] = set()
    for (assignment, to_row), answer in zip(jobs, answers, strict=True):
        if answer is None:
            refused["no whole answer came"] += assignment.count
            continue
        written = read_answer(answer, assignment)
        refused.update(written.refused)
        for question, said in written.pairs:
            if bare(question) in seen:
                refused["repeated"] += 1
            else:
                seen.add(bare(question))
                rows.append(to_row(question, said))
    reasons = ", ".join(f"{why} ({number})" for why, number in refused.most_common())
    return rows, [f"{sum(refused.values())} of what the model wrote refused: {reasons}"] if refused else []
