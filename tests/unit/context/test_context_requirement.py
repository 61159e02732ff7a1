"""Whether as long a context is held as is required."""

from __future__ import annotations

import pytest
from support.context_documents import Known, limit, limits, target

from pytest_llmbench.context.requirement import judge_context

KNOWN = Known()


def test_a_length_below_every_interval_is_held() -> None:
    verdict = judge_context(target(), 4096, "auto")
    assert (verdict.outcome, verdict.failed) == ("met", False)


def test_the_limit_that_falls_short_is_named_with_its_interval() -> None:
    verdict = judge_context(target(), 7000, "auto")
    assert (verdict.outcome, verdict.failed) == ("missed", True)
    assert verdict.message.startswith("answered in time: 6680 tokens (95 % interval 6600 to 6760); 7000 tokens are")


@pytest.mark.parametrize(("inconclusive", "failed"), [("auto", True), ("fail", True), ("pass", False)])
def test_a_length_within_an_interval_is_not_sure(inconclusive: str, failed: bool) -> None:  # noqa: FBT001  # a parameter
    verdict = judge_context(target(), 6650, inconclusive)  # type: ignore[arg-type]  # parametrized as texts
    assert (verdict.outcome, verdict.failed) == ("unsure", failed)


def test_one_limit_is_judged_alone() -> None:
    only = judge_context(target(), 7000, "auto", "accepted")
    assert only.outcome == "met"


def test_a_limit_without_an_end_is_sure_up_to_where_it_was_shown() -> None:
    found = target(limits=limits(KNOWN, right=limit(8192, 6700, None, "end_of_range", tokens=8192)))
    assert judge_context(found, 6700, "auto", "right").outcome == "met"
    assert judge_context(found, 8000, "auto", "right").outcome == "unsure"
    assert "8192 tokens or more (at least 6700)" in judge_context(found, 8000, "auto", "right").message


def test_what_was_not_measured_is_not_held() -> None:
    verdict = judge_context(target(limits=limits(KNOWN, in_time=None)), 4096, "auto")
    assert (verdict.outcome, verdict.failed) == ("unsure", True)
    assert verdict.message.startswith("answered in time: not measured; 4096 tokens are required: not sure enough")
