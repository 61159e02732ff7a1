"""Many hypotheses at once: Holm's correction by hand, its closure, and Bonferroni's bounds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.stats import holm

p_values = st.floats(1e-9, 1)
families = st.lists(st.tuples(p_values, st.floats(0.1, 10)), min_size=1, max_size=6)


def test_holm_is_what_textbooks_give() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.02]) == [0.02]
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_weights_share_the_error_and_what_is_rejected_is_passed_on() -> None:
    # 0.01 at 9 of 10 parts: 0.01 * 10 / 9; then 0.03 is alone, with all of the error
    assert holm([0.01, 0.03], [9, 1]) == pytest.approx([0.1 / 9, 0.03])
    assert holm([0.03, 0.01], [9, 1]) == pytest.approx([0.1 / 3, 0.1 / 3])
    assert holm([0.03, 0.002], [9, 1]) == pytest.approx([0.03, 0.02])


@given(families)
def test_adjusting_never_helps_and_stays_within_bonferroni(family: list[tuple[float, float]]) -> None:
    found, weights = [p for p, _ in family], [weight for _, weight in family]
    for p, weight, adjusted in zip(found, weights, holm(found, weights), strict=True):
        assert p <= adjusted <= min(1.0, p * sum(weights) / weight) * (1 + 1e-9)


@given(families)
def test_a_hypothesis_is_rejected_where_every_family_that_holds_it_is(family: list[tuple[float, float]]) -> None:
    found, weights = [p for p, _ in family], [weight for _, weight in family]

    def closed(index: int) -> float:
        families = (
            chosen
            for size in range(1, len(family) + 1)
            for chosen in itertools.combinations(range(len(family)), size)
            if index in chosen
        )
        bonferroni = (
            min(found[member] * sum(weights[each] for each in chosen) / weights[member] for member in chosen)
            for chosen in families
        )
        return min(1.0, max(bonferroni))

    assert holm(found, weights) == pytest.approx([closed(index) for index in range(len(family))])


@given(st.permutations([0.001, 0.02, 0.02, 0.5]))
def test_the_order_of_hypotheses_is_no_matter(found: list[float]) -> None:
    by_p = dict(zip(found, holm(found), strict=True))
    assert by_p == pytest.approx({0.001: 0.004, 0.02: 0.06, 0.5: 0.5})


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="weights must be positive"):
        holm([0.1, 0.2], [1, 0])
