"""Single cases of a run: what was asked and answered, what moved, where a fine-tune gained and where it is weak."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from pytest_llmbench.core.locale import UNSCORED, Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.blocks import (
    Block,
    Case,
    Cases,
    Cell,
    Column,
    Depth,
    Fact,
    Name,
    Number,
    Quote,
    Section,
    Sentences,
    Table,
)
from pytest_llmbench.reports.call_faults import calls_made, expected_calls_text, faults
from pytest_llmbench.reports.limits import TOP
from pytest_llmbench.reports.views.scores import SHORT_TITLES, short_title
from pytest_llmbench.reports.weaknesses import weaknesses
from pytest_llmbench.runs.comparison import SPEED_METRICS, Comparison, compare_variants
from pytest_llmbench.runs.typed import CompletionDocument, Moved, Result, RunDocument, VerdictDocument


def rankings(document: RunDocument, variant: str, say: Words) -> Iterator[Section]:
    """Where one fine-tune gained most, and where it is weakest."""
    gained = _improvements(compare_variants(document, variant), variant, say)
    yield Section(
        f"improvements-{variant}",
        say("Top {count} improvements: base -> {variant}", count=TOP, variant=variant),
        gained,
        folded=True,
    )
    weak = _weaknesses(document, variant, say)
    yield Section(
        f"weaknesses-{variant}",
        say("Top {count} weaknesses: base -> {variant}", count=TOP, variant=variant),
        weak,
        folded=True,
    )


def _improvements(comparison: Comparison | None, variant: str, say: Words) -> list[Block]:
    if comparison is None or not comparison.changes:
        return [
            Sentences(
                [say("No result is scored for both the base and {variant}.", variant=variant)],
                listed=False,
            )
        ]
    shown = [_ranked(change.row, comparison.metric, variant, say) for change in comparison.improvements(TOP)]
    told = [
        say("Ranked by the difference in: {metric}.", metric=say.metric(comparison.metric)),
        *([] if shown else [say("No case improved.")]),
    ]
    return [Sentences(told, listed=False), Cases(shown)]


def _weaknesses(document: RunDocument, variant: str, say: Words) -> list[Block]:
    found, total = weaknesses(document, variant, TOP)
    if not found:
        return [Sentences([say("None: every case is answered in full.")], listed=False)]
    shown = [_ranked(weak.row, weak.worst, variant, say) for weak in found]
    return [
        Sentences(
            [
                say(
                    "{shown} of {total} cases that are not answered in full: those without an answer and wrong ones "
                    "first, by their lowest score.",
                    shown=len(shown),
                    total=total,
                )
            ],
            listed=False,
        ),
        Cases(shown),
    ]


def _ranked(row: Result, metric: str | None, variant: str, say: Words) -> Case:
    pair = (BASE, variant)
    note = ""
    if metric is not None:
        before, after = (row.scores[metric].get(name) for name in pair)
        note = f"{say.metric(metric)} {_change(before, after, say)}"
    scores = ", ".join(_scores(row, pair, metric, say)) or UNSCORED
    return Case(case_name(row), note, [*_facts(row, pair, say), (say("scores"), scores)])


def moved_case(case: Moved, row: Result | None, variants: Sequence[str], say: Words) -> Case:
    """A case of a verdict with its scores before and after, and what `variants` answered in `row`.

    `row` is None for a case that this run does not hold.
    """
    facts = [] if row is None else list(_facts(row, variants, say))
    return Case(case.case, _change(case.before, case.after, say), facts)


def telling_rows(document: RunDocument, verdict: VerdictDocument) -> dict[str, Result]:
    """Each moved case's result that the verdict's variant did worst in by its metric, the first of equals."""
    sign = 1 if verdict.higher_is_better else -1

    def score(row: Result) -> float:
        value = row.score(verdict.metric, verdict.variant)
        return -math.inf if value is None else sign * value

    found: dict[str, Result] = {}
    moved = {case.case for case in verdict.moved}
    for row in document.results:
        if row.case not in moved:
            continue
        known = found.setdefault(row.case, row)
        if score(row) < score(known):
            found[row.case] = row
    return found


def every_case(document: RunDocument, say: Words) -> Section:
    """One row a result."""
    applied = document.statistics.metrics
    shown = [(metric, variant) for metric in SHORT_TITLES for variant in applied.get(metric, ())]

    def cells(row: Result) -> list[Cell]:
        scores = (Number(row.score(metric, variant)) for metric, variant in shown)
        return [Name(case_name(row)), *scores, say.outcome(row.outcome)]

    rows = _MadeWhenShown(document.results, cells)
    columns = [
        Column(say("Case"), left=True),
        *(Column(short_title(metric, say), variant) for metric, variant in shown),
        Column(say("Outcome")),
    ]
    return Section("cases", say("Every case"), [Table(columns, rows, depth=Depth.FULL)])


class _MadeWhenShown(Sequence[list[Cell]]):
    """The rows of a table over results, of which formats show the first ones."""

    def __init__(self, results: Sequence[Result], cells: Callable[[Result], list[Cell]]) -> None:
        self._results, self._cells = results, cells

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, place: int) -> list[Cell]: ...
    @overload
    def __getitem__(self, place: slice) -> list[list[Cell]]: ...
    def __getitem__(self, place: int | slice) -> list[Cell] | list[list[Cell]]:
        if isinstance(place, slice):
            return [self._cells(row) for row in self._results[place]]
        return self._cells(self._results[place])

    def __iter__(self) -> Iterator[list[Cell]]:
        return map(self._cells, self._results)


def case_name(row: Result) -> str:
    """The pytest id; a repetition carries its number."""
    name: str = row.case
    return name + (f" #{row.epoch}" if row.epoch else "")


def _facts(row: Result, variants: Sequence[str], say: Words) -> Iterator[Fact]:
    """What was asked, what should have been called, what was answered and called, and what is wrong with that."""
    yield say("prompt"), Quote(row.prompt)
    expected = expected_calls_text(row, say)
    if expected is not None:
        yield say("expected calls"), Quote("; ".join(expected))
    for variant in variants:
        completion = row.completions.get(variant)
        yield say("answer of {variant}", variant=variant), _answer(completion, say)
        made = calls_made(completion, say)
        if made is not None:
            yield say("calls of {variant}", variant=variant), Quote("; ".join(made))
        if wrong := faults(row, variant, say):
            yield say("faults of {variant}", variant=variant), "; ".join(wrong)


def _answer(completion: CompletionDocument | None, say: Words) -> Cell:
    told = None if completion is None else completion.told
    return say("no answer") if told is None else Quote(told)


def _change(before: float | None, after: float | None, say: Words) -> str:
    difference = "" if before is None or after is None else f" ({say.number(after - before, signed=True)})"
    return f"{say.number(before)} -> {say.number(after)}{difference}"


def _scores(row: Result, pair: tuple[str, str], ranked_by: str | None, say: Words) -> Iterator[str]:
    """The other metrics that scored either variant, without speed."""
    for metric, by_variant in row.scores.items():
        values = [by_variant[variant] for variant in pair if variant in by_variant]
        if metric not in {ranked_by, *SPEED_METRICS} and any(value is not None for value in values):
            yield f"{say.metric(metric)} {' -> '.join(map(say.number, values))}"
