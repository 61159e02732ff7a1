from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_llmbench.stats.paired_ratio import Measurement, paired_ratio


def drawn(
    random: np.random.Generator, ratio: float, pairs: int, noise: float, between: float
) -> list[tuple[Measurement, Measurement]]:
    """Pairs that drift together, as a machine does, with a noise of their own; their ratios differ `between` them."""
    found = []
    for _ in range(pairs):
        drift = 10 * np.exp(0.3 * random.standard_normal())
        apart = drift * ratio * np.exp(between * random.standard_normal())
        before, after = (float(mean * np.exp(noise * random.standard_normal())) for mean in (drift, apart))
        found.append((Measurement(before, noise * before), Measurement(after, noise * after)))
    return found


@pytest.mark.parametrize("pairs", [2, 3, 4, 8])
@pytest.mark.parametrize("between", [0.0, 0.2])
def test_the_interval_holds_the_true_ratio_and_no_drift_of_the_machine_matters(pairs: int, between: float) -> None:
    random = np.random.default_rng(1)
    found = [paired_ratio(drawn(random, 1.5, pairs, 0.05, between)) for _ in range(1000)]
    assert np.mean([one.low <= 1.5 <= one.high for one in found]) >= 0.945
    if pairs == 4 and not between:
        assert np.median([one.high / one.low for one in found]) < 1.35


def test_pairs_that_agree_by_chance_are_no_surer_than_their_measurements() -> None:
    alike = [(Measurement(10, 2), Measurement(20, 4))] * 3
    found = paired_ratio(alike)
    own = math.exp(1.96 * math.sqrt((0.2**2 + 0.2**2) / 3))
    assert found == pytest.approx((2, 2 / own, 2 * own), rel=1e-3)


def test_pairs_that_differ_more_than_their_measurements_say_are_held_to_what_they_differ() -> None:
    apart = [(Measurement(10, 0.1), Measurement(10 * math.exp(change), 0.1)) for change in (0.2, 0.4, 0.6)]
    found = paired_ratio(apart)
    reach = 4.3027 * 0.2 / math.sqrt(3)  # Student's quantile with two degrees of freedom
    assert found == pytest.approx([math.exp(0.4 + change) for change in (0, -reach, reach)], rel=1e-3)


def test_one_pair_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two pairs"):
        paired_ratio([(Measurement(1, 1), Measurement(2, 1))])
