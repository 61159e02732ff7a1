"""Permutations: against enumeration and scipy, near and far tails, lattices, and cases asked more often on one side."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.stats import permutation
from pytest_llmbench.stats.permutation import Laws, dealt_anew, either_sign, tail

floats = st.floats(-1, 1).map(lambda number: round(number, 3))
samples = st.lists(floats, min_size=1, max_size=10).map(np.array).filter(lambda found: bool(found.any()))


def enumerated(laws: Laws, seen: float) -> tuple[float, float]:
    """The chance of more than was seen, and of as much."""
    rows = [
        [(value, chance) for value, chance in zip(*row, strict=True) if chance]
        for row in zip(laws.values.tolist(), laws.chances.tolist(), strict=True)
    ]
    above = tied = 0.0
    for pattern in itertools.product(*rows):
        chance, total = float(np.prod([part[1] for part in pattern])), sum(part[0] for part in pattern)
        above += chance * (total > seen + 1e-6)
        tied += chance * (abs(total - seen) <= 1e-6)
    return above, tied


@given(samples)
def test_sign_flips_of_few_cases_are_those_of_brute_force(changes: np.ndarray) -> None:
    above, tied = enumerated(either_sign(changes), changes.sum())
    assert permutation._all_signs(np.abs(changes), changes.sum()) == pytest.approx(above + tied)


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_agree_with_scipy(seed: int) -> None:
    changes = np.random.default_rng(seed).normal(0.3, 1, 10)
    theirs = stats.permutation_test(
        (changes,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    found = tail(either_sign(changes), changes.sum(), len(changes))
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.method == "sign-flip test, exact"


@given(st.lists(st.sampled_from([-2, -1, 1, 2, 3]), min_size=5, max_size=9), st.sampled_from([1 / 3, 0.01, 25.0]))
def test_on_a_lattice_half_of_the_ties_count(steps: list[int], unit: float) -> None:
    changes = np.round(np.array(steps) * unit, 6)
    above, tied = enumerated(either_sign(np.array(steps)), sum(steps))
    found = tail(either_sign(changes), changes.sum(), 2 * len(changes))
    assert found.p_value == pytest.approx(above + tied / 2, rel=1e-4)
    assert found.method == "permutation test, exact, mid-p"


@given(st.lists(st.sampled_from([-2, -1, 1, 2, 3]), min_size=5, max_size=9), st.integers(0, 1))
def test_all_of_the_ties_count_where_nearly_all_units_move(steps: list[int], unmoved: int) -> None:
    above, tied = enumerated(either_sign(np.array(steps)), sum(steps))
    found = tail(either_sign(np.array(steps) / 4), sum(steps) / 4, len(steps) + unmoved)
    assert found.p_value == pytest.approx(above + tied)
    assert found.method == "permutation test, exact"


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.4, 1.0, 3.0])
def test_random_patterns_agree_with_all_of_them_down_to_the_last(shift: float) -> None:
    changes = np.random.default_rng(7).normal(shift, 1, 14)
    exact = permutation._all_signs(np.abs(changes), changes.sum())
    assert permutation._drawn(either_sign(changes), changes.sum()) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("better", [200, 230, 280, 400])
def test_far_tails_are_known_as_well_as_near_ones(better: int) -> None:
    signs = np.repeat([1.0, -1.0], [better, 400 - better])
    laws, seen = either_sign(0.3 * signs), float(0.3 * signs.sum())
    beyond, tied = stats.binom.sf(better, 400, 0.5), stats.binom.pmf(better, 400, 0.5)
    assert permutation._drawn(laws, seen) == pytest.approx(beyond + tied, rel=0.08)
    assert tail(laws, seen, 500).p_value == pytest.approx(beyond + tied / 2, rel=1e-6)


@given(st.lists(st.integers(0, 1), min_size=2, max_size=7), st.data())
def test_answers_dealt_anew_are_hypergeometric(answers: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(answers) - 1))
    before, after = np.array(answers[:cut], float), np.array(answers[cut:], float)
    values, chances = dealt_anew(before, after)
    law = stats.hypergeom(len(answers), sum(answers), len(after))
    for value, chance in zip(values, chances, strict=True):
        hits = (value + sum(answers) / cut) / (1 / len(after) + 1 / cut)
        assert chance == pytest.approx(law.pmf(round(hits)))
    assert (values * chances).sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("unit", [1.0, 0.7310])
def test_unequal_numbers_of_answers_are_those_of_brute_force(unit: float) -> None:
    dealt = [dealt_anew(np.array([1.0, 1, 0, 1, 1]) * scale, np.array([0.0])) for scale in (1, unit, unit**2, 1, 1)]
    laws = Laws(*(np.stack(side) for side in zip(*dealt, strict=True)))
    seen = float(laws.values[:, 0].sum())
    above, tied = enumerated(laws, seen)
    found = tail(laws, seen, 10)
    assert found.p_value == pytest.approx(above + tied * (0.5 if unit == 1 else 1), rel=0.05)


@given(samples, st.integers(0, 9), st.floats(0.01, 1))
def test_sign_flips_are_surer_when_one_change_grows(changes: np.ndarray, place: int, rise: float) -> None:
    grown = changes.copy()
    grown[place % len(grown)] += round(rise, 3)
    before, after = (permutation._all_signs(np.abs(one), one.sum()) for one in (changes, grown))
    assert after <= before + 1e-12


def test_what_lies_beyond_all_patterns_is_as_likely_as_the_last_one() -> None:
    laws = either_sign(np.full(6, 0.5))  # at a margin what was seen is shifted
    assert tail(laws, 3.3, 6).p_value == pytest.approx(1 / 64)
    assert tail(laws, 1.7, 12).p_value == pytest.approx(7 / 64)  # between two sums there is no tie


@pytest.mark.parametrize("below", [0.01, 0.4, 2.0, 30.0])
def test_a_sum_below_all_patterns_is_reached_by_each(below: float) -> None:
    laws = either_sign(np.full(6, 0.5))
    assert tail(laws, -3 - below, 6).p_value == pytest.approx(1)
