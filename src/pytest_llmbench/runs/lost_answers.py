"""What no gate passes over: answers that one side lost, and categories that seem worse beyond what few cases prove.

Answers that were lost to an error, a time-out or endless thinking count as the worst score there, or not at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.gate_notes import gate_note
from pytest_llmbench.runs.row_columns import ComparableRow, changed_rows
from pytest_llmbench.stats import Hypothesis, Kind, Outcome, Verdict, judge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Pairs = Sequence[tuple[str, str]]
"""The variants whose answers are held against each other, before and after."""

_Runs = tuple[Comparable, Comparable]
_Filled = dict[tuple[str, str, int, str], float]
"""The worst score of a metric, by case and epoch, for a variant that lost its answer."""

_DOUBT = 0.2
"""The level of a category's own test, uncorrected, at which it is in doubt.

The error of the other kind that a plan with a power of 80 % accepts. At alpha four of four cases that fell would not
count, since no test of four cases reaches it; taking every fall beyond the margin would leave hardly a pass where
categories are small.
"""


def counted_as_worst(runs: _Runs, pairs: Pairs, metrics: Sequence[str]) -> tuple[_Runs, list[dict[str, Any]]]:
    """Both runs with the worst score where one side lost an answer and the other has one to the same case, and notes.

    Where both lost it nothing is known, and nothing is counted. The worst score is 0 where scores are never negative
    and more is better, 1 where scores lie between 0 and 1 and less is better, else the worst that either run has.
    """
    if not any(row.get("lost") for run in runs for row in run.rows):
        return runs, []
    filled: tuple[_Filled, _Filled] = ({}, {})
    notes = [note for metric in metrics for note in _fill(filled, runs, pairs, metric)]
    return (_with(runs[0], filled[0]), _with(runs[1], filled[1])), notes


def _fill(filled: tuple[_Filled, _Filled], runs: _Runs, pairs: Pairs, metric: str) -> Iterator[dict[str, Any]]:
    worst = _worst(runs, metric)
    if worst is None:
        return
    scored = [{side: _scored(runs[side], pair[side], metric) for side in (0, 1)} for pair in pairs]
    for pair, known in zip(pairs, scored, strict=True):
        gone: tuple[list[str], list[str]] = ([], [])
        for side in (0, 1):
            for row in _lost(runs[side], pair[side], metric):
                if row["case"] in known[1 - side]:
                    filled[side][metric, row["case"], row["epoch"], pair[side]] = worst
                    gone[side].append(row["case"])
        if any(gone):
            counts = {"before": len(gone[0]), "after": len(gone[1]), "worst": f"{worst:g}"}
            cases = sorted({*gone[0], *gone[1]})
            yield gate_note("lost", "noted_lost", cases, metric=metric, variant=pair[1], **counts)


def _lost(run: Comparable, variant: str, metric: str) -> Iterable[ComparableRow]:
    """Rows whose metric judged the variant, and found no answer to judge."""
    return (
        row
        for row in run.rows
        if variant in (row.get("lost") or ()) and row["scores"].get(metric, {}).get(variant, math.nan) is None
    )


def _scored(run: Comparable, variant: str, metric: str) -> set[str]:
    return {row["case"] for row in run.rows if row["scores"].get(metric, {}).get(variant) is not None}


def worst_score(seen: Sequence[float], *, higher_is_better: bool, unit: str | None) -> float:
    """The score of a lost answer, by those that answers have: 0, 1 or the worst of them, as `counted_as_worst` says."""
    if higher_is_better:
        return min(0.0, *seen)
    return max(1.0, *seen) if unit is None and max(seen) <= 1 else max(seen)


def _worst(runs: _Runs, metric: str) -> float | None:
    """None where no answer is scored."""
    seen = [
        score
        for run in runs
        for row in run.rows
        for score in row["scores"].get(metric, {}).values()
        if score is not None
    ]
    if not seen:
        return None
    about = (runs[1].metadata.get("metrics") or {}).get(metric, {})
    return worst_score(seen, higher_is_better=about.get("higher_is_better", True), unit=about.get("unit"))


def _with(run: Comparable, filled: Mapping[tuple[str, str, int, str], float]) -> Comparable:
    if not filled:
        return run
    places: dict[tuple[str, int], list[tuple[str, str, float]]] = {}
    for (metric, case, epoch, variant), worst in filled.items():
        places.setdefault((case, epoch), []).append((metric, variant, worst))

    def filled_in(row: ComparableRow) -> ComparableRow:
        return _filled_in(row, places.get((row["case"], row["epoch"]), ()))

    return dataclasses.replace(run, rows=changed_rows(run.rows, filled_in))


def _filled_in(row: ComparableRow, worst: Sequence[tuple[str, str, float]]) -> ComparableRow:
    if not worst:
        return row
    scores = {metric: dict(by_variant) for metric, by_variant in row["scores"].items()}
    for metric, variant, score in worst:
        scores[metric][variant] = score
    return {**row, "scores": scores}


def in_doubt(gains: NDArray[np.float64], hypothesis: Hypothesis, verdict: Verdict, kind: Kind) -> bool:
    """Whether a category fell by more than its margin, in what was seen and, at level `DOUBT`, beyond chance.

    `gains` has one number a case, positive for better. Where every one of several cases fell, no test is asked. A
    comparison has no margin. What failed is in no doubt.
    """
    margin = 0.0 if kind == "compare" else hypothesis.margin
    if verdict.outcome is Outcome.FAIL or verdict.effect >= -margin:
        return False
    if len(gains) > 1 and (gains < -margin).all():
        return True
    if kind != "regression":  # its p-value is not of a fall
        (verdict,) = judge([dataclasses.replace(hypothesis, margin=margin)], "regression", _DOUBT)
    return verdict.p_value <= _DOUBT
