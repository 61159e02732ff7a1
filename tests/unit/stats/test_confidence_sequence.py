"""The interval that holds at every look."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special

from pytest_llmbench.stats.confidence_sequence import drifts, log_mixture

COMMITS = 50


@given(st.floats(0, 40), st.floats(0, 60), st.floats(0.3, 20))
def test_the_mixture_is_the_integral_that_it_stands_for(total: float, intrinsic: float, rho: float) -> None:
    def weighed(lam: float) -> float:
        psi = -np.log1p(-lam) - lam
        density = (1 - lam) ** (rho - 1) * np.exp(-rho * (1 - lam)) * rho**rho
        return float(np.exp(lam * total - psi * intrinsic) * density)

    whole = special.gamma(rho) * special.gammainc(rho, rho)
    mixed = integrate.quad(weighed, 0, 1, limit=200)[0] / whole
    assert np.exp(log_mixture(total, intrinsic, rho)) == pytest.approx(mixed, rel=1e-5)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**20))
def test_bounds_hold_the_effect_stay_on_the_scale_and_mirror_the_scores(
    cases: int, before: int, after: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    baseline, runs = random.random((cases, before)), [random.random((cases, after)) for _ in range(5)]
    found = list(drifts(baseline, runs))
    mirrored = list(drifts(1 - baseline, [1 - run for run in runs]))
    for one, other in zip(found, mirrored, strict=True):
        assert -1 <= one.low <= one.effect <= one.high <= 1
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


def test_more_runs_and_more_epochs_of_the_baseline_narrow_it() -> None:
    random = np.random.default_rng(1)
    chances = random.beta(0.7, 0.5, 200)[:, None]

    def asked(epochs: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return (random.random((200, epochs)) < chances).astype(float)

    runs = [asked(1) for _ in range(20)]
    widths = {epochs: [one.high - one.low for one in drifts(asked(epochs), runs)] for epochs in (1, 5)}
    assert widths[1][-1] < widths[1][0]
    assert widths[5][-1] < widths[1][-1]


def test_one_model_over_many_commits_is_hardly_ever_called_worse_and_a_worse_one_is_found() -> None:
    random = np.random.default_rng(2)
    alarms = found = 0
    for _ in range(100):
        chances = random.beta(0.7, 0.5, 100)[:, None]
        answers = [(random.random((100, 1)) < chances).astype(float) for _ in range(COMMITS + 1)]
        alarms += any(one.high < 0 for one in drifts(answers[0], answers[1:]))
        worse = [(random.random((100, 1)) < chances * 0.5).astype(float) for _ in range(20)]
        found += any(one.high < 0 for one in drifts(answers[0], worse))
    assert alarms <= 5
    assert found >= 50


@pytest.mark.parametrize("run", [[[1.2]], [[np.nan]], [[0.5], [0.5]]])
def test_what_cannot_be_a_run_of_the_same_cases_is_refused(run: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"cases of the baseline|between 0 and 1"):
        list(drifts(np.array([[0.5]]), [np.array(run)]))
