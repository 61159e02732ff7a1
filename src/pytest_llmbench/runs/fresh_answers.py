"""No gate passes on answers that were remembered: behind a server's model name there may be other weights by now."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_llmbench.core.locale import words
from pytest_llmbench.runs.baseline import Comparable
from pytest_llmbench.runs.cached_answers import CachedAnswers
from pytest_llmbench.runs.gate_notes import gate_note
from pytest_llmbench.runs.gate_reasons import CACHED_ALONE
from pytest_llmbench.runs.row_columns import ComparableRow, changed_rows
from pytest_llmbench.stats import Outcome

_SAY = words("en")
_MOST = 0.5

Judging = Callable[[Comparable], dict[str, Any]]
"""Makes the gate object of a run."""


def judged_on_fresh_answers(judged: Judging, run: Comparable) -> dict[str, Any]:
    """The gate object of the run, with a note for each variant whose answers came from the cache of a server's model.

    Where it passes, it is inconclusive unless at least half of each variant's answers are fresh and pass without the
    others: a few that happen to score as before show nothing. A comparison gates nothing and is only noted.
    """
    gate = judged(run)
    tested = dict.fromkeys(verdict["variant"] for verdict in gate["verdicts"])
    stale = {variant: run.cached[variant] for variant in tested if variant in run.cached}
    if not stale:
        return gate
    noted = {**gate, "notes": [*gate["notes"], *_notes("cached", stale)]}
    if gate["kind"] == "compare" or gate["outcome"] != Outcome.PASS:
        return noted
    fresh = judged(_without(run, stale))
    if fresh["outcome"] == Outcome.PASS and all(cached.share <= _MOST for cached in stale.values()):
        return noted
    because = {"kind": "cached_alone", "verdict": None, "others": 0}
    reason = f"{_SAY(CACHED_ALONE)}. Without them: {fresh['reason']}"
    notes = [*gate["notes"], *_notes("cached_alone", stale)]
    return {**gate, "outcome": Outcome.INCONCLUSIVE.value, "reason": reason, "because": because, "notes": notes}


def _notes(kind: str, stale: Mapping[str, CachedAnswers]) -> Iterator[dict[str, Any]]:
    for variant, cached in stale.items():
        cases = sorted({case for case, _ in cached.places})
        yield gate_note(kind, "cached_answers", cases, **cached.data(variant))


def _without(run: Comparable, stale: Mapping[str, CachedAnswers]) -> Comparable:
    """The run as if these answers had not been scored."""

    def kept(row: ComparableRow) -> ComparableRow:
        place = row["case"], row["epoch"]
        gone = {variant for variant, cached in stale.items() if place in cached.places}
        scores = {
            metric: {variant: None if variant in gone else score for variant, score in of.items()}
            for metric, of in row["scores"].items()
        }
        lost = [variant for variant in row.get("lost", ()) if variant not in gone]
        return {**row, "scores": scores, "lost": lost}

    return dataclasses.replace(run, rows=changed_rows(run.rows, kept))
