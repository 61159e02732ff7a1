"""Verdicts: what fails, what passes and what stays open, for each kind of gate."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.stats import Hypothesis, Kind, Outcome, Verdict, judge

KINDS = get_args(Kind)
FAIL, PASS, OPEN = Outcome.FAIL, Outcome.PASS, Outcome.INCONCLUSIVE


def asked(differences: list[float] | np.ndarray, margin: float = 0.0, weight: float = 1.0) -> Hypothesis:
    """Each case asked once."""
    found = np.array(differences, dtype=float)
    return Hypothesis(found, np.arange(len(found)), margin, weight)


def about(mean: float, cases: int = 40) -> np.ndarray:
    """Differences that vary a little, with this very mean."""
    found: np.ndarray = np.random.default_rng(2).normal(0, 0.2, cases)
    return np.asarray(found - found.mean() + mean)


def one(hypothesis: Hypothesis, kind: Kind, alpha: float = 0.05) -> Verdict:
    return judge([hypothesis], kind, alpha)[0]


@pytest.mark.parametrize(
    ("kind", "mean", "margin", "outcome"),
    [
        ("regression", -0.2, 0.0, FAIL),
        ("regression", 0.2, 0.0, PASS),
        ("regression", 0.0, 0.0, OPEN),
        ("regression", -0.2, 0.1, FAIL),
        ("regression", -0.2, 0.2, OPEN),
        ("regression", -0.2, 0.3, PASS),
        ("regression", 0.0, 0.1, PASS),
        ("improvement", 0.2, 0.0, PASS),
        ("improvement", 0.2, 0.1, PASS),
        ("improvement", 0.2, 0.2, OPEN),
        ("improvement", 0.0, 0.0, OPEN),
        ("improvement", -0.2, 0.0, FAIL),
        ("improvement", -0.2, 0.2, OPEN),
        ("compare", 0.2, 0.0, PASS),
        ("compare", -0.2, 0.0, FAIL),
        ("compare", 0.0, 0.0, OPEN),
        ("compare", -0.2, 0.3, FAIL),  # a comparison knows no margin
    ],
)
def test_each_kind_of_gate_has_its_own_idea_of_passing(
    kind: Kind, mean: float, margin: float, outcome: Outcome
) -> None:
    assert one(asked(about(mean), margin), kind).outcome == outcome


@pytest.mark.parametrize("kind", KINDS)
def test_all_ties_are_no_regression_and_no_improvement(kind: Kind) -> None:
    verdict = one(asked([0.0] * 30), kind)
    assert verdict.outcome == (PASS if kind == "regression" else OPEN)
    assert (verdict.effect, verdict.low, verdict.high, verdict.p_adjusted) == (0, None, None, 1)
    assert (verdict.detectable, verdict.needed_cases, verdict.needed_epochs) == (None, None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("difference", [-1.0, 0.25])
def test_one_case_settles_nothing(kind: Kind, difference: float) -> None:
    verdict = one(asked([difference]), kind)
    assert (verdict.outcome, verdict.n, verdict.effect) == (OPEN, 1, difference)
    assert (verdict.low, verdict.detectable, verdict.needed_cases) == (None, None, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(kind: Kind, wrong: float) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        judge([asked([0.1, 0.2]), asked([0.1, wrong])], kind, 0.05)


def test_nothing_asked_is_nothing_answered() -> None:
    assert judge([], "regression", 0.05) == []


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=20), st.integers(2, 5), st.sampled_from(KINDS))
def test_asking_again_and_hearing_the_same_adds_no_evidence(thirds: list[int], epochs: int, kind: Kind) -> None:
    differences = np.array(thirds) / 3
    first = one(asked(differences), kind)
    again = one(Hypothesis(np.repeat(differences, epochs), np.repeat(np.arange(len(thirds)), epochs), 0.0), kind)
    assert again.needed_epochs is None
    assert (again.outcome, again.n, again.epochs) == (first.outcome, first.n, epochs)
    assert again.p_value == pytest.approx(first.p_value)
    assert again.effect == pytest.approx(first.effect)
    assert (again.low is None) == (first.low is None)


def test_epochs_that_cancel_out_leave_a_case_unchanged() -> None:
    epochs = np.tile([0.1, 0.2, -0.3], 30)  # whose sum is 5e-17
    verdict = one(Hypothesis(epochs, np.repeat(np.arange(30), 3), 0.0), "regression")
    assert (verdict.outcome, verdict.effect, verdict.p_value) == (PASS, 0, 1)


def test_the_same_evidence_weighs_less_among_many_questions() -> None:
    questions = [asked(about(-0.06))] + [asked(about(0.0)) for _ in range(9)]
    alone, among = judge(questions[:1], "regression", 0.05)[0], judge(questions, "regression", 0.05)[0]
    assert (alone.outcome, among.outcome) == (FAIL, OPEN)
    assert among.p_value == alone.p_value
    assert among.p_adjusted == pytest.approx(10 * alone.p_value)
    assert alone.detectable is not None
    assert among.detectable is not None
    assert among.detectable > alone.detectable
    heavy = judge([dataclasses.replace(questions[0], weight=90.0), *questions[1:]], "regression", 0.05)[0]
    assert heavy.outcome == FAIL


@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 2)), min_size=3, max_size=12))
def test_a_comparison_takes_better_for_worse_in_a_mirror(differences: list[float]) -> None:
    mirror = {FAIL: PASS, PASS: FAIL, OPEN: OPEN}
    plain, mirrored = (one(asked(sign * np.array(differences)), "compare") for sign in (1, -1))
    assert mirrored.outcome == mirror[plain.outcome]
    assert mirrored.p_value == pytest.approx(plain.p_value)


def test_a_comparison_of_the_same_model_alarms_at_most_at_alpha_on_both_sides_together() -> None:
    random = np.random.default_rng(6)
    verdicts = [one(asked(random.normal(0, 1, 20)), "compare") for _ in range(300)]
    assert sum(verdict.outcome != OPEN for verdict in verdicts) <= 300 * 0.08


def test_what_is_detectable_includes_the_margin() -> None:
    plain, allowed = one(asked(about(0.0)), "regression"), one(asked(about(0.0), 0.3), "regression")
    assert plain.detectable is not None
    assert allowed.detectable == pytest.approx(plain.detectable + 0.3)


def test_an_open_verdict_says_how_many_cases_would_settle_it_and_they_do() -> None:
    differences = about(-0.04, 30)
    verdict = one(asked(differences), "regression")
    assert verdict.outcome == OPEN
    assert verdict.needed_cases is not None
    more = np.resize(differences, verdict.needed_cases)
    assert one(asked(more), "regression").outcome == FAIL


def test_within_the_margin_of_an_improvement_gate_no_number_of_cases_settles_it() -> None:
    verdict = one(asked(about(0.02), 0.1), "improvement")
    assert (verdict.outcome, verdict.needed_cases, verdict.needed_epochs) == (OPEN, None, None)


def test_showing_that_nothing_fell_takes_the_whole_of_alpha() -> None:
    family = [asked(about(0.04, 30)), *[asked(about(0.0, 30)) for _ in range(9)]]
    among, alone = judge(family, "regression", 0.05)[0], one(family[0], "regression")
    assert among.needed_cases == alone.needed_cases is not None


@pytest.mark.parametrize("unit", [1e-90, 1e6, 1e99])
@pytest.mark.parametrize("kind", KINDS)
def test_great_and_small_units_come_to_the_same(unit: float, kind: Kind) -> None:
    plain, scaled = (one(asked(about(-0.03) * of, 0.01 * of), kind) for of in (1.0, unit))
    assert scaled.outcome == plain.outcome
    assert scaled.p_value == pytest.approx(plain.p_value)
    assert scaled.needed_cases == plain.needed_cases
    assert scaled.detectable == pytest.approx(plain.detectable * unit if plain.detectable else None)
