from __future__ import annotations

import numpy as np
import pytest

from pytest_llmbench.stats.paired_ratio import Measurement, paired_ratio


def drawn(random: np.random.Generator, ratio: float, pairs: int, noise: float) -> list[tuple[Measurement, Measurement]]:
    """Pairs that drift together, as a machine does, with a noise of their own."""
    found = []
    for _ in range(pairs):
        drift = 10 * np.exp(0.3 * random.standard_normal())
        before, after = (float(mean * np.exp(noise * random.standard_normal())) for mean in (drift, ratio * drift))
        found.append((Measurement(before, noise * before), Measurement(after, noise * after)))
    return found


def test_the_interval_holds_the_true_ratio_and_no_drift_of_the_machine_matters() -> None:
    random = np.random.default_rng(1)
    found = [paired_ratio(drawn(random, 1.5, 4, 0.05)) for _ in range(400)]
    assert np.mean([one.low <= 1.5 <= one.high for one in found]) >= 0.95
    assert np.median([one.high / one.low for one in found]) < 1.35


def test_pairs_that_agree_by_chance_are_no_surer_than_their_measurements() -> None:
    alike = [(Measurement(10, 2), Measurement(20, 4))] * 3
    found = paired_ratio(alike)
    assert found.value == pytest.approx(2)
    assert found.low < 1.2


def test_one_pair_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two pairs"):
        paired_ratio([(Measurement(1, 1), Measurement(2, 1))])
