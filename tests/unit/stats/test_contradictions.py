"""Trials that no falling curve explains."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.stats.contradictions import contradiction
from pytest_llmbench.stats.observation import Observation


def test_a_level_that_was_bad_once_contradicts_what_more_users_had() -> None:
    seen = [Observation(4, 40, 40), Observation(8, 20, 80), Observation(8, 79, 80), Observation(12, 118, 120)]
    found = contradiction(seen)
    assert found is not None
    assert (found.worse, found.level, found.good, found.total) == (seen[1], 12, 197, 200)


def test_what_few_answers_did_is_no_contradiction() -> None:
    assert contradiction([Observation(1, 2, 3), Observation(16, 160, 160)]) is None


def test_where_users_are_alike_more_is_needed() -> None:
    alike = tuple((10 * (user % 2), 10) for user in range(8))
    assert contradiction([Observation(8, 40, 80, alike), Observation(8, 70, 80)]) is None


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.5, 40), st.floats(2, 60))
def test_a_falling_server_without_disturbance_contradicts_itself_never(seed: int, fall: float, edge: float) -> None:
    random = np.random.default_rng(seed)
    levels = random.integers(1, 50, 12).tolist()
    seen = [Observation(level, int(random.binomial(60, 0.98 / (1 + (level / edge) ** fall))), 60) for level in levels]
    assert contradiction(seen) is None
