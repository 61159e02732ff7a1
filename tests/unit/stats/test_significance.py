"""The tests of a mean change: which one decides, symmetry, units and what no variance can show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.stats.answers import SideScores, paired
from pytest_llmbench.stats.significance import Changes, _bend_of_dealing, _student, p_above, p_below
from pytest_llmbench.stats.unseen import p_unseen

NAN = float("nan")

floats = st.floats(-1, 1).map(lambda number: round(number, 3))
samples = st.lists(floats, min_size=1, max_size=12).map(np.array)
binary = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=25).map(np.array)


def split(better: int, moved: int, cases: int) -> np.ndarray:
    """Yes-or-no differences: so many better, so many moved at all."""
    return np.repeat([1.0, -1.0, 0.0], [better, moved - better, cases - moved])


@given(st.one_of(samples, binary), st.floats(-0.5, 0.5))
@example(np.zeros(5), 5e-324)
@example(np.zeros(5), 1e-308)
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
    assert p_above(differences).p_value == p_below(differences).p_value == 1


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


@pytest.mark.parametrize("unit", [1.0, 100.0, 0.5, 1 / 3])
def test_yes_or_no_on_another_scale_is_yes_or_no(unit: float) -> None:
    four_lost = split(0, 4, 30) * unit
    found = p_below(four_lost)
    assert found.p_value == pytest.approx(p_below(split(0, 4, 30)).p_value)
    assert found.p_value < 0.05
    assert found.method == "McNemar test, exact and unconditional"


@pytest.mark.parametrize("values", [np.zeros(5), np.zeros(30), np.full(5, -0.02), np.full(20, 0.1)])
def test_that_nothing_varies_is_no_proof_at_a_margin(values: np.ndarray) -> None:
    p = p_above(Changes(values, scale=1.0), -0.05).p_value
    assert p == pytest.approx((0.95 / (1 + values.mean())) ** len(values))
    assert p == pytest.approx(p_unseen(values.mean(), len(values), -0.05))


def test_small_changes_do_not_hide_that_great_losses_were_not_looked_for() -> None:
    jitter = np.random.default_rng(0).normal(0, 0.01, 400)
    assert p_above(Changes(jitter[:30], scale=1.0), -0.05).p_value > 0.05
    assert p_above(Changes(jitter, scale=1.0), -0.05).p_value < 0.001
    assert p_above(Changes(jitter[:30], scale=None), -0.05).p_value < 0.001  # of seconds, nothing is known to be lost


def asked_unequally(cases: int, before: float, after: float, random: np.random.Generator) -> Changes:
    """Yes-or-no answers, one of the side before and five of the side after."""
    earlier = (random.random((cases, 1)) < before).astype(float)
    later = (random.random((cases, 5)) < after).astype(float)
    return paired(SideScores.of_table(earlier), SideScores.of_table(later)).changes


def test_skewness_that_comes_of_unequal_epochs_alone_costs_no_power() -> None:
    random = np.random.default_rng(21)
    falls = [asked_unequally(30, 0.8, 0.65, random).mirrored() for _ in range(200)]
    found = [p_above(fall).p_value <= 0.05 for fall in falls]
    fully = [max(_student(fall.values, 0.0), p_above(fall).p_value) <= 0.05 for fall in falls]
    assert sum(found) > sum(fully)
    assert sum(found) >= 0.43 * 200
    equal = [asked_unequally(30, 0.725, 0.725, random) for _ in range(200)]
    assert sum(p_above(side).p_value <= 0.05 for one in equal for side in (one, one.mirrored())) <= 0.05 * 400


def test_beyond_the_permutation_test_all_skewness_is_taken_out() -> None:
    random = np.random.default_rng(3)
    unequal = asked_unequally(900, 0.5, 0.53, random)
    equal = random.choice([-0.4, 0.2, 0.4], 900, p=[0.3, 0.3, 0.4])
    changes = Changes(np.concatenate([unequal.values, equal]), 1.0, unequal.uneven)
    assert _bend_of_dealing(changes) != 0
    assert p_above(changes).p_value == _student(changes.values, 0.0)


def test_the_skewness_of_dealing_is_that_of_the_laws() -> None:
    changes = asked_unequally(40, 0.9, 0.9, np.random.default_rng(5))
    assert changes.uneven is not None
    values, chances = changes.uneven[1]
    random, drawn = np.random.default_rng(0), []
    for line, chance in zip(values, chances, strict=True):
        drawn.append(random.choice(line, 20_000, p=chance / chance.sum()))
    centred = np.array(drawn) - np.array(drawn).mean(axis=1, keepdims=True)
    spread = changes.values.std(ddof=1) * len(changes.values) ** 0.5
    expected = (centred**3).mean(axis=1).sum() / spread**3
    assert _bend_of_dealing(changes) == pytest.approx(expected, rel=0.05)
