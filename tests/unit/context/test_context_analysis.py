"""From the probes of a context run to its law, its times, and what is found by length, depth and kind."""

from __future__ import annotations

import pytest
from support.context_documents import DEPTHS, KINDS, LENGTHS, Known, limit, limits, probes, quadratic, target

from pytest_llmbench.context.analysis import analysed, first_token_law
from pytest_llmbench.runs.context_document import AnalysisDocument, ContextLimits


def analysis() -> AnalysisDocument:
    found = target(known=Known(law=quadratic)).analysis
    assert found is not None
    return found


def test_the_law_is_that_of_the_prompts_that_were_read_whole() -> None:
    made = list(probes(Known(law=quadratic)))
    spoilt = [
        made[0].model_copy(update={"prompt_tokens": 8000, "cached_tokens": 7000, "first_token_s": 0.01}),
        made[0].model_copy(update={"prompt_tokens": 9000, "cut": True, "first_token_s": 0.01}),
        made[0].model_copy(update={"prompt_tokens": 7000, "sought": "accepted", "first_token_s": 0.01}),
    ]
    law, without = first_token_law([*made, *spoilt]), first_token_law(made)
    assert law == without
    assert law is not None
    assert law.exponent is not None
    assert law.exponent.value == pytest.approx(2, rel=0.1)
    assert (law.shortest, law.longest) == (LENGTHS[0], LENGTHS[-1])


def test_times_are_told_by_length_with_the_promised_quantile() -> None:
    times = analysis().times
    assert [one.length for one in times] == list(LENGTHS)
    assert all(one.first_token_low_s < one.first_token_s < one.first_token_high_s for one in times)
    assert times[-1].prefill_tokens_per_s == pytest.approx(8159 / quadratic(8159), rel=0.1)


def test_every_length_depth_and_kind_has_its_share() -> None:
    found = analysis()
    assert [one.length for one in found.by_length] == list(LENGTHS)
    assert [one.depth for one in found.by_depth[:5]] == list(DEPTHS)
    assert {one.kind for one in found.by_kind} == set(KINDS)
    for by in (found.by_depth, found.by_kind):
        assert sum(one.facts for one in by) == sum(one.facts for one in found.by_length)
    assert all(one.share.low <= one.found / one.facts <= one.share.high for one in found.by_depth)


def test_refused_prompts_are_no_missed_facts() -> None:
    made = target()
    refused = [probe.model_copy(update={"refusal": made.probes[-2].refusal}) for probe in made.probes]
    found = analysed(made.model_copy(update={"probes": tuple(refused)})).analysis
    assert found == AnalysisDocument()


def test_the_smallest_limit_is_the_answer_and_binds() -> None:
    found = limits(Known()).answer()
    assert found is not None
    assert (found.tokens, found.low, found.high, found.bound_by) == (6680, 4096, 6760, "in_time")


def test_a_limit_that_ends_where_no_more_is_accepted_leaves_that_to_bind() -> None:
    late = limit(8191, 8191, None, "not_accepted", tokens=8191)
    found = limits(Known(), in_time=late).answer()
    assert found is not None
    assert (found.tokens, found.bound_by) == (8159, "accepted")


def test_nothing_binds_where_the_longest_length_was_fine() -> None:
    fine = limit(4096, 4096, None, "end_of_range", tokens=4096)
    found = ContextLimits(accepted=fine, in_time=fine, right=fine).answer()
    assert found is not None
    assert (found.tokens, found.high, found.bound_by) == (4096, None, None)
    assert ContextLimits().answer() is None
