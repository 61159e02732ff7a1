"""Whether as many users as are required are held."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from support.serving_findings import bare_finding

from pytest_llmbench.autotune.capacity_gate import judge_requirement
from pytest_llmbench.autotune.document import Finding


def finding(chance: float | None, **changed: Any) -> Finding:
    return bare_finding(**{"value": 8, "low": 6, "high": 11, "chance_required": chance, **changed})


@pytest.mark.parametrize(
    ("chance", "inconclusive", "outcome", "ends"),
    [
        (0.95, "auto", "met", "passes"),
        (0.9499, "auto", "unsure", "fails"),
        (0.9499, "fail", "unsure", "fails"),
        (0.9499, "pass", "unsure", "passes"),
        (0.0501, "pass", "unsure", "passes"),
        (0.05, "pass", "missed", "fails"),
        (None, "pass", "missed", "fails"),
    ],
)
def test_it_takes_a_probability_of_095_and_only_what_lies_between_may_be_let_pass(
    chance: float | None, inconclusive: Literal["auto", "pass", "fail"], outcome: str, ends: str
) -> None:
    verdict = judge_requirement(finding(chance), 12, inconclusive)
    assert (verdict.outcome, "fails" if verdict.failed else "passes") == (outcome, ends)


def test_nothing_is_met_by_a_search_that_was_not_decided() -> None:
    verdict = judge_requirement(finding(0.99, decided=False), 5, "auto")
    assert (verdict.outcome, verdict.failed) == ("unsure", True)
    assert "but the search was not decided: not sure enough; raise load.budget" in verdict.message
    late = judge_requirement(finding(0.99, decided=False, ended_by="time"), 5, "auto")
    assert "not sure enough; raise load.time_limit" in late.message
    assert judge_requirement(finding(0.01, decided=False), 5, "pass").outcome == "missed"


@pytest.mark.parametrize(("inconclusive", "ends"), [("auto", "fails"), ("pass", "passes")])
def test_what_nobody_tried_is_neither_held_nor_missed(inconclusive: Literal["auto", "pass"], ends: str) -> None:
    promising = finding(None, value=4, low=3, high=4, capped=True, unbounded=True, highest_tried=4)
    verdict = judge_requirement(promising, 12, inconclusive)
    assert (verdict.outcome, "fails" if verdict.failed else "passes") == ("unsure", ends)
    assert (
        "holds 4 or more users (95 % interval 3 to 4 or more); 12 are required, and no more than 4" in verdict.message
    )


def test_the_sentence_has_what_was_found_what_is_required_and_what_to_do() -> None:
    message = judge_requirement(finding(0.004), 12, "auto").message
    assert message.startswith("the server holds 8 users (95 % interval 6 to 11); 12 are required")
    assert "below 0.01: surely not held; give the server more room" in message
    capped = judge_requirement(finding(1.0, value=50, capped=True), 12, "auto").message
    assert "holds 50 or more users" in capped
    assert capped.endswith("above 0.99: surely held")
