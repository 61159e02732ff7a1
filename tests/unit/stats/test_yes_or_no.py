"""Exact tests of yes-or-no scores: against enumeration and published values, and never more often wrong than alpha."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.stats.yes_or_no import Counts, end_below, p_of_counts


@st.composite
def counts(draw: st.DrawFn, most: int = 25) -> Counts:
    cases = draw(st.integers(1, most))
    better = draw(st.integers(0, cases))
    return Counts(better, draw(st.integers(0, cases - better)), cases)


nulls = st.floats(-0.95, 0.95).map(lambda null: round(null, 3))


def test_mcnemar_of_many_cases_is_the_published_exact_test() -> None:
    # Agresti (1990), p. 350: 1,600 voters, 150 and 86 changed their minds; R's exact2x2 gives 3.716e-05, two-sided
    assert 2 * p_of_counts(Counts(150, 86, 1600)) == pytest.approx(3.716e-05, abs=5e-9)


@pytest.mark.parametrize("cases", [1, 5, 30, 58, 59, 200])
@pytest.mark.parametrize("margin", [0.05, 0.2])
def test_nothing_changed_leaves_open_what_a_binomial_does(cases: int, margin: float) -> None:
    found = p_of_counts(Counts(0, 0, cases), -margin)
    assert found >= (1 - margin) ** cases * (1 - 1e-9)
    if margin * cases < 3:  # with more, gains that are as likely make it a little less sure
        assert found == pytest.approx((1 - margin) ** cases)


@pytest.mark.parametrize("cases", [5, 11, 23])
@pytest.mark.parametrize("null", [-0.3, -0.05, 0.0])
def test_it_errs_at_most_at_alpha_whatever_the_share_that_differs(cases: int, null: float) -> None:
    outcomes = [(plus, minus) for plus in range(cases + 1) for minus in range(cases - plus + 1)]
    p_values = np.array([p_of_counts(Counts(*outcome, cases), null) for outcome in outcomes])
    better, worse = np.array(outcomes).T
    for share in np.linspace(0, (1 - abs(null)) / 2, 60):
        chances = (max(share, share + null), max(share, share - null))
        law = stats.multinomial(cases, [*chances, max(0.0, 1 - sum(chances))])
        likely = law.pmf(np.stack([better, worse, cases - better - worse], axis=1))
        for alpha in (0.05, 0.015):
            assert likely[p_values <= alpha].sum() <= alpha + 1e-9


@pytest.mark.parametrize(("better", "worse", "cases"), [(5, 0, 5), (7, 1, 12), (9, 3, 16), (6, 0, 20)])
def test_the_test_of_no_change_is_the_slow_one_written_out(better: int, worse: int, cases: int) -> None:
    outcomes = [(plus, differing) for differing in range(1, cases + 1) for plus in range(differing + 1)]
    splits = np.array([math.comb(differing, plus) / 2**differing for plus, differing in outcomes])
    differing = np.array(outcomes)[:, 1]
    mid_p = np.array([stats.binom.sf(plus, of, 0.5) + stats.binom.pmf(plus, of, 0.5) / 2 for plus, of in outcomes])
    seen = outcomes.index((better, better + worse))

    def likely(share: float) -> np.ndarray:
        return np.asarray(splits * stats.binom.pmf(differing, cases, share))

    estimated = np.array(
        [likely(of / cases)[mid_p <= mid_p[place] + 1e-12].sum() for place, (_, of) in enumerate(outcomes)]
    )
    extreme = estimated <= estimated[seen] + 1e-12
    slow = max(likely(share)[extreme].sum() for share in np.linspace(0.002, 1, 300).tolist())
    assert p_of_counts(Counts(better, worse, cases)) == pytest.approx(slow, rel=0.01)


@settings(deadline=None)
@given(counts(), nulls)
def test_a_p_value_is_one_and_falls_with_every_case_that_got_better(found: Counts, null: float) -> None:
    p = p_of_counts(found, null)
    assert 0 <= p <= 1
    if found.better + found.worse < found.cases and (null != 0 or found.better > found.worse):
        assert p_of_counts(found._replace(better=found.better + 1), null) <= p + 1e-9


@settings(deadline=None, max_examples=30)
@given(counts(), st.sampled_from([0.025, 0.05, 0.005]), nulls)
def test_an_interval_and_a_verdict_agree_at_any_border(found: Counts, level: float, null: float) -> None:
    end = end_below(found, level, null)
    assert -1 <= end <= found.effect
    assume(null < found.effect)
    assert (end > null) == (p_of_counts(found, null) <= level)


def test_more_cases_that_lost_nothing_rule_out_ever_smaller_losses() -> None:
    ends = [end_below(Counts(0, 0, cases), 0.05, -1) for cases in (5, 30, 100, 400, 1000)]
    assert ends == sorted(ends)
    assert ends[1] == pytest.approx(-(1 - 0.05 ** (1 / 30)), abs=2e-4)


@pytest.mark.parametrize(("cases", "margin", "passes"), [(539, 0.005, False), (597, 0.005, False), (598, 0.005, True)])
def test_many_cases_without_a_loss_leave_open_what_a_binomial_does(cases: int, margin: float, *, passes: bool) -> None:
    p = p_of_counts(Counts(0, 0, cases), -margin)
    assert p == pytest.approx((1 - margin) ** cases)
    assert (p <= 0.05, end_below(Counts(0, 0, cases), 0.05, -1) > -margin) == (passes, passes)


@settings(deadline=None)
@given(
    st.builds(Counts, st.integers(0, 20), st.integers(0, 20), st.integers(501, 5000)),
    st.floats(-0.05, -0.0005),
    st.sampled_from([0.05, 0.025]),
)
def test_no_number_of_cases_passes_what_was_not_seen(found: Counts, null: float, level: float) -> None:
    assume(found.effect > null)
    p, end = p_of_counts(found, null), end_below(found, level, -1)
    assert p >= ((1 + null) / (1 + found.effect)) ** found.cases * (1 - 1e-9)
    assume(abs(end - null) > 1e-6)
    assert (p <= level) == (end > null)
    assert (end_below(found, level, null) > null) == (p <= level)
