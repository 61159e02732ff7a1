"""The reason of a gate is of the verdict that decided it."""

from __future__ import annotations

from typing import Any

import pytest
from support.gates import gate, verdict

from pytest_llmbench.core.locale import words
from pytest_llmbench.runs.gate_reasons import because, reason_of
from pytest_llmbench.runs.typed import gate_document


def reason(*verdicts: dict[str, Any], **changed: Any) -> str:
    return reason_of(gate_document(gate(*verdicts, **changed)), words("en"), str)


@pytest.mark.parametrize(("kind", "word"), [("improvement", "improvement"), ("compare", "change")])
def test_the_fine_tune_that_nothing_was_shown_of_is_named(kind: str, word: str) -> None:
    shown = [verdict("pass", variant="a"), verdict("inconclusive", "keywords", variant="a", p_adjusted=0.06)]
    open_ = [
        verdict("inconclusive", name, variant="b", p_adjusted=p) for name, p in (("relevance", 0.7), ("mine", 0.6))
    ]
    asked: dict[str, Any] = {"kind": kind, "against": "base", "baseline": None}
    told = reason(*shown, *open_, **asked)
    assert told.startswith(f"no {word} of b could be shown from these cases: mine of b went from")
    of_earlier_builds = {"kind": "not_shown", "verdict": 1, "others": 0}  # the least p of all
    earlier = reason(*shown, *open_, **asked, because=of_earlier_builds)
    assert earlier.startswith(f"no {word} could be shown from these cases: keywords of a went from")
    alone = reason(*open_, **asked)
    assert alone.startswith(f"no {word} could be shown from these cases: mine of b went from")


def test_the_category_that_fell_most_is_the_doubt_of_an_improvement_gate() -> None:
    slightly = verdict("inconclusive", category="slightly", in_doubt=True, effect=-0.1, p_value=0.9, p_adjusted=1.0)
    greatly = verdict("inconclusive", category="greatly", in_doubt=True, effect=-0.9, p_value=0.999, p_adjusted=1.0)
    found = gate_document(gate(verdict("pass"), slightly, greatly, kind="improvement"))
    assert because(found.verdicts, found.outcome, found.kind).verdict == 2
    told = reason_of(found, words("en"), str)
    assert told.startswith("greatly may have got worse, on too few cases to tell")
    assert "p =" not in told  # it would be of a gain
