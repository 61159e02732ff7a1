"""Categories that have no row: never one that the reason says is in the table."""

from __future__ import annotations

from typing import Any

import pytest
from support.gates import gate, judged, verdict
from support.rendered import gate_lines

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.html.verdict import gate_views
from pytest_llmbench.reports.silent_categories import silence, telling
from pytest_llmbench.runs.typed import gate_document, run_document


@pytest.mark.parametrize("kind", ["compare", "regression"])
def test_a_category_in_doubt_has_a_row_wherever_it_is_the_reason(kind: str) -> None:
    doubts = [verdict("inconclusive", category=name, in_doubt=True) for name in ("safety", "privacy")]
    quiet = verdict("inconclusive", category="quiet", effect=0.01, after=0.67)
    some: dict[str, Any] = gate(verdict("pass"), *doubts, quiet, kind=kind)
    found = gate_document(some)
    assert [one.category for one in telling(found.verdicts, found)] == [None, "safety", "privacy"]
    assert "1 of 3 questions" in str(silence(found, words("en")))
    shown = gate_lines(some, 100)
    assert any(" safety " in line and "Relevance" in line for line in shown)
    (view,) = gate_views(run_document(judged(some)), words("en"))
    assert [row.category for group in view.groups for row in group.rows] == [None, "safety", "privacy"]
