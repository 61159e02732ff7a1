"""The power of the exact tests: their regions are those of the p-values, and a detectable fall is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pytest_llmbench.stats import Hypothesis, exact_power, judge, mcnemar, tango


@pytest.mark.parametrize("cases", [5, 8, 17])
@pytest.mark.parametrize("level", [0.2, 0.05, 0.015])
def test_what_mcnemars_test_shows_is_what_its_p_values_say(cases: int, level: float) -> None:
    least = mcnemar.least_shown(cases, level)
    for moved in range(1, cases + 1):
        for better in range(moved + 1):
            shown = mcnemar.p_value(better, moved - better, cases) <= level
            assert shown == (better >= least[moved])


@pytest.mark.parametrize("cases", [5, 12])
@pytest.mark.parametrize("null", [0.05, 0.2, -0.1])
def test_what_tangos_test_shows_is_what_its_p_values_say(cases: int, null: float) -> None:
    least = tango.least_shown(cases, null, 0.05)
    for worse in range(cases + 1):
        for better in range(cases - worse + 1):
            assert (tango.p_value(better, worse, cases, null) <= 0.05) == (better >= least[worse])


@pytest.mark.parametrize("null", [0.0, 0.1])
def test_power_is_that_of_all_outcomes(null: float) -> None:
    cases, churn, change = 12, 0.1, 0.4
    law = stats.multinomial(cases, [churn / 2 + change, churn / 2, 1 - churn - change])
    of = mcnemar.p_value if null == 0 else lambda *counts: tango.p_value(*counts, null)
    outcomes = [(plus, minus, cases - plus - minus) for plus in range(cases + 1) for minus in range(cases - plus + 1)]
    shown = sum(law.pmf(one) for one in outcomes if of(one[0], one[1], cases) <= 0.05)
    assert exact_power.power(cases, churn, change, 0.05, null) == pytest.approx(shown)
    found = exact_power.least_found(cases, churn, 0.05, null, shown)
    assert found == pytest.approx(change, abs=1e-3)
    assert exact_power.least_found(3, churn, 0.05, null, 0.8) is None  # three of three may be chance


@pytest.mark.parametrize(("cases", "changed"), [(30, 0), (30, 3), (100, 2), (200, 20)])
def test_a_fall_that_is_called_detectable_is_found_about_four_times_in_five(cases: int, changed: int) -> None:
    before, after = np.zeros((2, cases))
    before[: changed // 2], after[changed // 2 : changed] = 1, 1
    (verdict,) = judge([Hypothesis.once(before, after)], "regression", 0.05)
    assert verdict.detectable is not None
    power = exact_power.power(cases, changed / cases, verdict.detectable, 0.05)
    assert 0.76 <= power <= 0.88
