from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.stats.binomial import at_least, binomial

shares = st.floats(0.001, 0.999)


@given(st.integers(0, 400), shares)
def test_chances_are_those_of_the_binomial_distribution(cases: int, share: float) -> None:
    counts = np.arange(cases + 1)
    assert binomial(cases, np.array([[share]]))[0] == pytest.approx(stats.binom.pmf(counts, cases, share), abs=1e-12)
    assert at_least(counts, cases, share) == pytest.approx(stats.binom.sf(counts - 1, cases, share), abs=1e-12)


def test_none_or_more_are_certain_and_more_than_all_are_impossible() -> None:
    assert at_least([-1, 0, 1, 4, 5], 3, 0.5).tolist() == [1, 1, 0.875, 0, 0]
    assert at_least([0, 1], 0, 0.5).tolist() == [1, 0]
