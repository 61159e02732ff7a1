from __future__ import annotations

from typing import Any

import pytest
from support import gates

from pytest_llmbench.core.locale import words
from pytest_llmbench.reports.gate_sentences import settling
from pytest_llmbench.runs.case_counts import cases_text, count, needed_text
from pytest_llmbench.runs.typed import VerdictDocument, gate_document

GATE = gate_document(gates.gate())


def verdict(*outcome: str, **changed: Any) -> VerdictDocument:
    return VerdictDocument.model_validate(gates.verdict(*outcome, **changed))


def test_groups_stand_beside_the_cases() -> None:
    grouped = verdict(n=30, units=10, epochs=3)
    assert count(grouped, words("en")) == "30x3 in 10 groups"
    assert cases_text(grouped, words("fr")) == "30 cas en 10 groupes"
    assert count(verdict(n=30, units=30), words("en")) == count(verdict(), words("en")) == "30"


@pytest.mark.parametrize(
    ("between", "english", "french"),
    [
        ([120, 700], "200 cases (120 to 700)", "200 cas (120 à 700)"),
        (
            [120, None],
            "200 cases (120 at best, at worst no number of them)",
            "200 cas (120 au mieux ; au pire, aucun nombre)",
        ),
        ([200, 200], "200 cases", "200 cas"),
        (None, "200 cases", "200 cas"),
    ],
)
def test_how_many_cases_would_settle_it_is_a_range(between: list[int | None] | None, english: str, french: str) -> None:
    open_ = verdict("inconclusive", needed_cases=200, needed_cases_range=between)
    assert needed_text(open_, words("en")) == english
    assert needed_text(open_, words("fr")) == french


def test_what_is_needed_of_groups_is_groups_and_what_is_not_ruled_out_is_told() -> None:
    open_ = verdict("inconclusive", n=30, units=10, needed_cases=40, needed_epochs=None, not_ruled_out=0.125)
    told = settling(open_, GATE, words("en"))
    assert told.startswith("about 40 groups would settle it; ")
    assert told.endswith("; a drop by up to 0.125 is not ruled out")
