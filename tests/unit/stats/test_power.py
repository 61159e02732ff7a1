"""What so many cases could have found, and how many would settle it: consistent with each other and with simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.stats import Hypothesis, judge
from pytest_llmbench.stats.answers import SideScores, paired
from pytest_llmbench.stats.mcnemar import mcnemar_least, mcnemar_p
from pytest_llmbench.stats.power import (
    Kind,
    OpenQuestion,
    Spread,
    cases_needed,
    cases_to_see,
    detectable_effect,
    epochs_needed,
    exact_power,
    least_found,
    needed_epochs,
    range_to_settle,
)
from pytest_llmbench.stats.significance import p_below
from pytest_llmbench.stats.tango import tango_least, tango_p


def once(cases: int, variance: float = 0.25) -> Spread:
    return Spread(cases, variance, None, 1)


def test_spread_tells_what_differs_between_cases_from_what_repeating_shrinks() -> None:
    after = SideScores(np.array([0.0, 1.0, 1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1, 2, 2]))
    before = SideScores(np.zeros(6), after.cases)
    found = paired(before, after).spread
    assert (found.cases, found.variance, found.epochs, found.unit) == (3, 0.25, 2.0, 1.0)
    assert found.within == pytest.approx(0.5 / 3)
    uneven = paired(SideScores.once(np.zeros(3)), after).spread
    assert uneven.within == pytest.approx(2 * 0.5 / 3)  # of either side as much
    assert uneven.epochs == pytest.approx(4 / 3)  # 1 and 2 epochs are as good as 4/3 on both sides
    once_each = paired(SideScores.once(np.zeros(2)), SideScores.once(np.array([0.0, 0.3]))).spread
    assert (once_each.cases, once_each.within, once_each.epochs) == (2, None, 1.0)


@pytest.mark.parametrize(("effect", "alpha"), [(0.25, 0.05), (0.5, 0.05), (0.25, 0.015)])
def test_so_many_cases_as_are_needed_find_it_four_times_in_five(effect: float, alpha: float) -> None:
    needed = cases_needed(once(5), effect, alpha)
    assert needed is not None
    random = np.random.default_rng(8)
    found = [p_below(random.normal(-effect, 0.5, needed)).p_value <= alpha for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize("cases", [10, 25])
def test_an_effect_that_is_called_detectable_is_found_four_times_in_five(cases: int) -> None:
    effect = detectable_effect(once(cases), 0.05)
    assert effect is not None
    random = np.random.default_rng(9)
    found = [p_below(random.normal(-effect, 0.5, cases)).p_value <= 0.05 for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


def test_so_many_epochs_as_are_needed_find_it_four_times_in_five() -> None:
    # cases differ with variance 0.01, epochs of one with 0.25
    needed = epochs_needed(Spread(40, 0.01 + 0.25, 0.25, 1), 0.08, 0.05)
    assert needed is not None
    assert needed > 1
    random = np.random.default_rng(10)
    found = [
        p_below(random.normal(-0.08, 0.1, 40) + random.normal(0, 0.5, (needed, 40)).mean(axis=0)).p_value <= 0.05
        for _ in range(300)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


@given(st.integers(5, 2000), st.floats(1e-4, 10), st.floats(0.001, 0.05))
def test_what_is_detectable_needs_about_the_cases_at_hand(cases: int, variance: float, alpha: float) -> None:
    effect = detectable_effect(once(cases, variance), alpha)
    if effect is None:
        assert 2.0**-cases > alpha
        return
    needed = cases_needed(once(cases, variance), effect, alpha)
    assert needed is not None
    assert cases <= needed <= 1.3 * cases + 2
    assert detectable_effect(once(4 * cases, variance), alpha) == pytest.approx(effect / 2, rel=0.35)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_smaller_effect_needs_more(effect: float, other: float) -> None:
    small, great = sorted((effect, other))
    few, many = (cases_needed(once(5), each, 0.05) for each in (great, small))
    assert few is not None
    assert many is not None
    assert few <= many


@pytest.mark.parametrize(
    ("kind", "margin", "ends", "is_open"),
    [
        ("regression", 0.0, (-0.3, 0.1), True),
        ("regression", 0.05, (-0.3, 0.1), True),
        ("regression", 0.05, (-0.04, 0.1), False),
        ("regression", 0.2, (-0.19, 0.1), False),
        ("improvement", 0.0, (-0.1, 0.3), True),
        ("improvement", 0.05, (0.04, 0.3), True),
        ("improvement", 0.05, (0.06, 0.3), False),
        ("compare", 0.0, (-0.3, 0.1), True),
        ("compare", 0.0, (0.01, 0.3), False),
    ],
)
def test_no_number_is_enough_wherever_the_border_lies_in_the_interval(
    kind: Kind,
    margin: float,
    ends: tuple[float, float],
    is_open: bool,  # noqa: FBT001
) -> None:
    question = OpenQuestion(kind, margin, 0.05, 0.05, None)
    effect = 0.15 if kind == "improvement" else 0.09
    found = range_to_settle(once(30), question, effect, ends)
    assert found is not None
    least, most = found
    assert least > 30
    assert (most is None) is is_open


def test_where_nothing_can_be_said_nothing_is() -> None:
    alike, one = once(30, 0.0), once(1, float("nan"))
    assert [detectable_effect(found, 0.05) for found in (alike, one)] == [None, None]
    assert [cases_needed(found, 0.1, 0.05) for found in (alike, one)] == [None, None]
    assert cases_needed(once(30), 0.0, 0.05) is None
    assert cases_needed(once(30), 1e-6, 0.05) is None
    assert epochs_needed(once(30), 0.1, 0.05) is None
    # the cases themselves differ too much, or epochs not at all
    assert epochs_needed(Spread(30, 0.25, 0.01, 2), 0.01, 0.05) is None
    assert epochs_needed(Spread(30, 0.01, 0.0, 3), 0.2, 0.05) is None


def test_four_cases_can_show_nothing_however_great_it_is() -> None:
    assert p_below(np.full(4, -1.0)).p_value > 0.05
    assert detectable_effect(once(4), 0.05) is None
    assert cases_needed(once(4), 10.0, 0.05) == 5
    assert epochs_needed(Spread(4, 0.25, 0.25, 1), 10.0, 0.05) is None


@pytest.mark.parametrize(("cases", "churn"), [(30, 0.02), (60, 0.1)])
def test_a_fall_of_yes_or_no_scores_that_is_called_detectable_is_found_four_times_in_five(
    cases: int, churn: float
) -> None:
    found = Spread(cases, churn, None, 1.0, unit=1.0, squares=churn * cases, once=True)
    fall = detectable_effect(found, 0.05)
    assert fall is not None
    random = np.random.default_rng(13)
    shares = [churn / 2, churn / 2 + fall, 1 - churn - fall]
    p_values = [p_below(random.choice([1.0, -1.0, 0.0], cases, p=shares)).p_value for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.8, abs=0.08)


def test_so_many_cases_without_a_loss_rule_one_out() -> None:
    assert cases_to_see(0.0, 0.05, 1.0, 0.05) == 59
    assert cases_to_see(0.0, 5, 100.0, 0.05) == 59
    assert cases_to_see(-0.05, 0.05, 1.0, 0.05) is None
    assert cases_to_see(0.0, 1e-9, 1.0, 0.05) is None


@pytest.mark.parametrize("cases", [5, 8, 17])
@pytest.mark.parametrize("level", [0.2, 0.05, 0.015])
def test_what_mcnemars_test_shows_is_what_its_p_values_say(cases: int, level: float) -> None:
    least = mcnemar_least(cases, level)
    for moved in range(1, cases + 1):
        for better in range(moved + 1):
            shown = mcnemar_p(better, moved - better, cases) <= level
            assert shown == (better >= least[moved])


@pytest.mark.parametrize("cases", [5, 12])
@pytest.mark.parametrize("null", [0.05, 0.2, -0.1])
def test_what_tangos_test_shows_is_what_its_p_values_say(cases: int, null: float) -> None:
    least = tango_least(cases, null, 0.05)
    for worse in range(cases + 1):
        for better in range(cases - worse + 1):
            assert (tango_p(better, worse, cases, null) <= 0.05) == (better >= least[worse])


@pytest.mark.parametrize("null", [0.0, 0.1])
def test_power_is_that_of_all_outcomes(null: float) -> None:
    cases, churn, change = 12, 0.1, 0.4
    law = stats.multinomial(cases, [churn / 2 + change, churn / 2, 1 - churn - change])
    of = mcnemar_p if null == 0 else lambda *counts: tango_p(*counts, null)
    outcomes = [(plus, minus, cases - plus - minus) for plus in range(cases + 1) for minus in range(cases - plus + 1)]
    shown = sum(law.pmf(one) for one in outcomes if of(one[0], one[1], cases) <= 0.05)
    assert exact_power(cases, churn, change, 0.05, null) == pytest.approx(shown)
    found = least_found(cases, churn, 0.05, null, shown)
    assert found == pytest.approx(change, abs=1e-3)
    assert least_found(3, churn, 0.05, null, 0.8) is None  # three of three may be chance


@pytest.mark.parametrize(("cases", "changed"), [(30, 0), (30, 3), (100, 2), (200, 20)])
def test_a_fall_that_is_called_detectable_is_found_about_four_times_in_five(cases: int, changed: int) -> None:
    before, after = np.zeros((2, cases))
    before[: changed // 2], after[changed // 2 : changed] = 1, 1
    (verdict,) = judge([Hypothesis.once(before, after)], "regression", 0.05)
    assert verdict.detectable is not None
    found = exact_power(cases, changed / cases, verdict.detectable, 0.05)
    assert 0.76 <= found <= 0.88


def test_no_epochs_are_named_where_cases_alone_could_rule_a_loss_out() -> None:
    spread = Spread(30, variance=0.001, within=0.003, epochs=4, unit=1.0, squares=0.1, answers=4.0)
    question = OpenQuestion("regression", 0.05, 0.05, 0.05, scale=1.0)
    assert cases_to_see(0.0, 0.05, 1.0, 0.05) == 59
    assert needed_epochs(spread, question, 0.0) is None  # asked ten times more, 30 cases are 30 cases
    assert needed_epochs(replace(spread, cases=59), question, 0.0) is not None
    unbounded = replace(question, scale=None)
    assert needed_epochs(spread, unbounded, 0.0) == epochs_needed(spread, 0.05, 0.05)
    assert needed_epochs(spread, question, -0.1) == epochs_needed(spread, 0.05, 0.05)  # a fall was seen
    assert needed_epochs(spread, replace(question, margin=0.0), 0.05) == epochs_needed(spread, 0.05, 0.05)


def test_a_margin_too_small_for_its_cases_names_cases_and_no_epochs() -> None:
    random = np.random.default_rng(0)
    chances = np.clip(random.normal(0.95, 0.02, (30, 1)), 0, 1)
    for epochs in (5, 60):
        before, after = (SideScores.of_table((random.random((30, epochs)) < chances).astype(float)) for _ in range(2))
        (verdict,) = judge([Hypothesis(before, after, 0.03)], "regression", 0.05)
        assert verdict.outcome == "inconclusive"
        assert verdict.needed_epochs is None
        assert verdict.needed_cases is not None
