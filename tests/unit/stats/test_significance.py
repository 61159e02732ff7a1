"""The tests of a mean difference: against enumeration, against scipy, and never more often wrong than alpha."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.stats import significance
from pytest_llmbench.stats.significance import p_above, p_below

NAN = float("nan")

floats = st.floats(-1, 1).map(lambda number: round(number, 3))
samples = st.lists(floats, min_size=1, max_size=12).map(np.array)
binary = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=25).map(np.array)


def split(better: int, moved: int, cases: int) -> np.ndarray:
    """Yes-or-no differences: so many better, so many moved at all."""
    return np.repeat([1.0, -1.0, 0.0], [better, moved - better, cases - moved])


def enumerated(differences: np.ndarray) -> float:
    signs = np.array(list(itertools.product([1, -1], repeat=len(differences))))
    return float((signs @ np.abs(differences) >= differences.sum() - 1e-9).mean())


@given(samples)
def test_sign_flips_of_few_cases_are_those_of_brute_force(differences: np.ndarray) -> None:
    assert significance._all_flips(differences) == pytest.approx(enumerated(differences))
    assert p_above(differences).p_value >= 0.0


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_agree_with_scipy(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, 10).round(3)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert significance._all_flips(differences) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.4, 1.0, 3.0])
def test_random_sign_flips_agree_with_all_of_them_down_to_the_last_pattern(shift: float) -> None:
    differences = np.random.default_rng(7).normal(shift, 1, 14)
    assert significance._random_flips(differences) == pytest.approx(enumerated(differences), rel=0.05)


@pytest.mark.parametrize("better", [200, 230, 280, 400])
def test_random_sign_flips_know_p_values_that_ten_thousand_patterns_would_never_meet(better: int) -> None:
    exact = stats.binom.sf(better - 1, 400, 0.5)
    assert significance._random_flips(0.3 * split(better, 400, 400)) == pytest.approx(exact, rel=0.08)


def test_mcnemar_of_many_cases_is_the_published_exact_test() -> None:
    # Agresti (1990), p. 350: 1,600 voters, 150 and 86 changed their minds; R's exact2x2 gives 3.716e-05, two-sided
    assert 2 * significance._mcnemar(150, 236, 1600).p_value == pytest.approx(3.716e-05, abs=5e-9)


@pytest.mark.parametrize(("better", "moved", "cases"), [(5, 5, 5), (7, 8, 12), (9, 12, 16), (6, 6, 20)])
def test_the_unconditional_test_is_the_slow_one_written_out(better: int, moved: int, cases: int) -> None:
    def mid_p(plus: int, differing: int) -> float:
        chances = [math.comb(differing, count) / 2**differing for count in range(plus, differing + 1)]
        return float(sum(chances) - chances[0] / 2)

    extreme = [
        (plus, differing)
        for differing in range(1, cases + 1)
        for plus in range(differing + 1)
        if mid_p(plus, differing) <= mid_p(better, moved) + 1e-12
    ]
    worst = max(
        sum(
            # so many cases differ, and so many of those for the better
            math.comb(cases, differing)
            * share**differing
            * (1 - share) ** (cases - differing)
            * math.comb(differing, plus)
            / 2**differing
            for plus, differing in extreme
        )
        for share in np.linspace(0.002, 1, 400).tolist()
    )
    assert significance._mcnemar(better, moved, cases).p_value == pytest.approx(worst, rel=0.01)


@pytest.mark.parametrize("cases", [5, 11, 23, 40, 60])
def test_yes_or_no_scores_are_wrong_at_most_alpha_whatever_the_share_that_differs(cases: int) -> None:
    chances, p_values = np.zeros((2, cases + 1, cases + 1))
    for moved in range(1, cases + 1):
        for better in range(moved // 2 + 1, moved + 1):
            chances[moved, better] = stats.binom.pmf(better, moved, 0.5)
            p_values[moved, better] = p_above(split(better, moved, cases)).p_value
    shares = np.linspace(0.001, 1, 1500)[:, None]
    # cases that are each answered anew by the same model: some sure, the others differ at most every second time
    unsure = np.arange(1, cases + 1)[:, None]
    for alpha in (0.05, 0.015, 0.0006):
        rejected = np.where(p_values <= alpha, chances, 0).sum(axis=1)
        level = stats.binom.pmf(np.arange(cases + 1), cases, shares) @ rejected
        same_model = stats.binom.pmf(np.arange(cases + 1), unsure, 0.5) @ rejected
        assert max(level.max(), same_model.max()) <= alpha


@given(st.one_of(samples, binary), st.floats(-0.5, 0.5))
def test_below_is_above_mirrored_and_the_order_of_cases_is_no_matter(differences: np.ndarray, null: float) -> None:
    mirrored = p_above(-differences, -null)
    assert p_below(differences, null) == mirrored
    shuffled = np.random.default_rng(len(differences)).permutation(differences)
    assert p_above(shuffled, null).p_value == pytest.approx(p_above(differences, null).p_value)


def test_the_order_of_many_cases_is_no_matter() -> None:
    random = np.random.default_rng(3)
    differences = random.normal(0.1, 1, 60)
    assert p_above(differences).p_value == pytest.approx(p_above(random.permutation(differences)).p_value, rel=1e-9)


@given(samples.filter(lambda found: not np.isin(found, [-1.0, 0.0, 1.0]).all()), st.floats(1e-90, 1e90))
def test_the_unit_of_a_metric_is_no_matter(differences: np.ndarray, unit: float) -> None:
    assert p_above(differences * unit).p_value == pytest.approx(p_above(differences).p_value, rel=1e-6, abs=1e-12)


@given(samples, st.integers(0, 11), st.floats(0.01, 1))
def test_sign_flips_are_surer_when_one_difference_grows(differences: np.ndarray, place: int, rise: float) -> None:
    grown = differences.copy()
    grown[place % len(grown)] += round(rise, 3)
    assert significance._all_flips(grown) <= significance._all_flips(differences) + 1e-12


@given(st.lists(floats, min_size=3, max_size=30).map(np.array), st.floats(0.05, 0.5))
def test_a_border_further_below_is_surer_passed(differences: np.ndarray, lower: float) -> None:
    near, far = p_above(differences - 2.5), p_above(differences - 2.5, -lower)
    assert far.p_value <= near.p_value + 0.01  # of random patterns


def test_few_great_gains_against_many_small_losses_are_no_change() -> None:
    random = np.random.default_rng(11)
    alarms = 0
    for _ in range(300):
        gains = np.where(random.random(40) < 0.1, 0.9, -0.1)  # of mean zero
        alarms += p_below(gains).p_value <= 0.05
    assert alarms <= 300 * 0.09


@pytest.mark.parametrize("differences", [np.zeros(9), np.zeros(1), np.full(30, 1e-17) - 1e-17])
def test_all_ties_show_nothing_on_either_side(differences: np.ndarray) -> None:
    assert p_above(differences) == p_below(differences) == (1.0, "nothing differs")


def test_what_is_the_border_but_for_rounding_has_not_moved() -> None:
    assert p_above(np.full(30, 0.1 + 0.2), 0.3).p_value == 1


def test_one_case_shows_nothing() -> None:
    assert p_above(np.array([1.0])).p_value == 0.5
    assert p_above(np.array([0.3])).p_value == 0.5


@pytest.mark.parametrize("differences", [[], [0.1, NAN], [float("inf"), 0.1]])
def test_what_is_no_number_is_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="must be finite, and at least one"):
        p_above(np.array(differences))


def test_thousands_of_differences_have_a_p_value_of_any_size() -> None:
    random = np.random.default_rng(5)
    differences = random.normal(0.02, 1, 50_000)
    assert p_above(differences).p_value == pytest.approx(
        stats.ttest_1samp(differences, 0, alternative="greater")[1], rel=0.1
    )
    assert 0 <= p_above(differences + 5).p_value < 1e-9
