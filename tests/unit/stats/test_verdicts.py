"""Verdicts: what fails, what passes and what stays open, for each kind of gate."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.stats import Hypothesis, Kind, Outcome, SideScores, Verdict, judge

KINDS = get_args(Kind)
FAIL, PASS, OPEN = Outcome.FAIL, Outcome.PASS, Outcome.INCONCLUSIVE


def asked(differences: list[float] | np.ndarray, margin: float = 0.0, weight: float = 1.0) -> Hypothesis:
    """Each case asked once; scores of which nothing is known but how they changed."""
    found = np.array(differences, dtype=float)
    far = 4 * max(1.0, np.abs(found[np.isfinite(found)]).max())  # neither from 0 to 1 nor of two values
    before = np.where(np.arange(len(found)) % 2, -far, far) if len(found) > 1 else np.array([far])
    with np.errstate(invalid="ignore"):
        return Hypothesis.once(before, before + found, margin, weight)


def table(scores: Any) -> SideScores:
    return SideScores.of_table(np.array(scores, dtype=float))


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
    verdict = one(Hypothesis.once(np.ones(30), np.ones(30)), kind)
    assert verdict.outcome == (PASS if kind == "regression" else OPEN)
    assert (verdict.effect, verdict.changed, verdict.p_adjusted) == (0, 0, 1)
    assert (verdict.needed_cases, verdict.needed_cases_range, verdict.needed_epochs) == (None, None, None)
    assert verdict.high == pytest.approx(-verdict.low if verdict.low else None)
    assert verdict.not_ruled_out == (pytest.approx(0.095, abs=1e-3) if kind == "regression" else None)
    assert verdict.detectable == pytest.approx(0.2, abs=0.05)  # not "unknown", as nothing varied


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
    first = one(Hypothesis.once(0 * differences, differences), kind)
    repeated = np.repeat(differences[:, None], epochs, axis=1)
    again = one(Hypothesis(table(0 * repeated), table(repeated), 0.0), kind)
    assert again.needed_epochs is None
    assert (again.outcome, again.n, again.epochs) == (first.outcome, first.n, epochs)
    assert again.p_value == pytest.approx(first.p_value)
    assert again.effect == pytest.approx(first.effect)
    assert (again.low is None) == (first.low is None)


def test_epochs_that_cancel_out_leave_a_case_unchanged() -> None:
    epochs = np.tile([0.1, 0.2, -0.3], (30, 1))  # whose sum is 5e-17
    verdict = one(Hypothesis(table(0 * epochs), table(epochs), 0.0), "regression")
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
    before = np.linspace(-3, 3, 40)
    plain, scaled = (
        one(Hypothesis.once(before * of, (before + about(-0.03)) * of, 0.01 * of), kind) for of in (1.0, unit)
    )
    assert scaled.outcome == plain.outcome
    assert scaled.p_value == pytest.approx(plain.p_value)
    assert scaled.needed_cases == plain.needed_cases
    assert scaled.detectable == pytest.approx(plain.detectable * unit if plain.detectable else None)


@pytest.mark.parametrize("cases", [5, 10, 20, 30, 50])
def test_where_one_in_twenty_may_have_lost_a_margin_of_that_is_not_passed(cases: int) -> None:
    verdict = one(Hypothesis.once(np.ones(cases), np.ones(cases), 0.05), "regression")
    assert verdict.outcome == OPEN
    assert verdict.not_ruled_out == pytest.approx(1 - 0.05 ** (1 / cases), abs=1e-3)
    assert verdict.needed_cases == 59


answers = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=40)
right_or_wrong = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=40)


@settings(deadline=None, max_examples=60)
@given(st.one_of(answers, right_or_wrong), st.data(), st.sampled_from([0.0, 0.05, 0.2]), st.sampled_from([0.05, 0.025]))
def test_what_is_not_ruled_out_and_the_verdict_agree(
    before: list[float], data: st.DataObject, margin: float, alpha: float
) -> None:
    after = [data.draw(st.sampled_from([score, score, *before])) for score in before]
    verdict = one(Hypothesis.once(np.array(before), np.array(after), margin), "regression", alpha)
    assert verdict.low is not None
    assert verdict.high is not None
    assert -1 <= verdict.low <= verdict.effect <= verdict.high <= 1
    assert verdict.not_ruled_out is not None
    if margin:
        assert (verdict.not_ruled_out < margin) == (verdict.outcome == PASS)
    if alpha == 0.025:  # what each end of a 95 % interval leaves
        assert (verdict.high < -margin) == (verdict.outcome == FAIL)
        assert not margin or (verdict.low > -margin) == (verdict.outcome == PASS)


def test_more_answers_on_one_side_are_no_alarm_and_add_power() -> None:
    random, found = np.random.default_rng(12), {True: [], False: []}  # type: ignore[var-annotated]
    for _ in range(120):
        chance = random.beta(0.7, 0.5, (30, 1))
        five, same, worse = (
            random.random((30, n)) < np.clip(chance - fall, 0, 1) for n, fall in ((5, 0), (1, 0), (1, 0.3))
        )
        for fell, after in ((False, same), (True, worse)):
            found[fell].append(one(Hypothesis(table(five), table(after), 0.0), "regression").outcome == FAIL)
    assert np.mean(found[False]) <= 0.07
    assert np.mean(found[True]) >= 0.6


def test_an_answer_that_one_side_lacks_leaves_the_others_of_its_case() -> None:
    scores = np.tile([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], (15, 1))
    holes = scores.copy()
    holes[0, 2] = np.nan
    whole, holed = (one(Hypothesis(table(scores), table(after), 0.0), "regression") for after in (scores, holes))
    assert (whole.epochs, whole.outcome) == (3, PASS)
    assert holed.epochs == pytest.approx(3 - 1 / 30)
    assert holed.outcome != FAIL


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(10), 10)])
def test_paraphrases_of_one_template_count_as_one(groups: np.ndarray | None) -> None:
    before = np.ones(100)
    after = np.where(np.arange(100) < 10, 0.0, 1.0)  # one template of ten
    verdict = one(dataclasses.replace(Hypothesis.once(before, after), groups=groups), "regression")
    assert (verdict.n, verdict.units) == (100, 100 if groups is None else 10)
    assert verdict.effect == pytest.approx(-0.1)
    assert verdict.outcome == (FAIL if groups is None else OPEN)


def test_cases_that_would_settle_it_are_a_range_that_is_open_where_nothing_would() -> None:
    before = np.repeat([1.0, 0.0], [24, 16])
    after = before.copy()
    after[:4], after[24:26] = 0, 1
    verdict = one(Hypothesis.once(before, after, 0.02), "regression")
    assert verdict.needed_cases_range is not None
    least, most = verdict.needed_cases_range
    assert verdict.needed_cases is not None
    assert 40 < least <= verdict.needed_cases
    assert most is None or most >= verdict.needed_cases
    assert verdict.low is not None
    assert verdict.high is not None
    assert verdict.low < -0.02 < verdict.high  # the border is as plausible as others
    assert most is None


@pytest.mark.parametrize("wrong", [([1.0, 1.0], [1.0]), ([], [])])
def test_sides_of_other_cases_are_refused(wrong: tuple[list[float], list[float]]) -> None:
    before, after = map(np.array, wrong)
    with pytest.raises(ValueError, match="the same cases"):
        judge([Hypothesis.once(before, after)], "regression", 0.05)


@given(
    st.integers(6, 40),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.sampled_from([0.2, 0.5, 1.0]),
)
@settings(max_examples=60)
def test_where_every_case_improved_nothing_tells_of_a_fall(
    cases: int, before: int, after: int, margin: float, rise: float
) -> None:
    sides = table(np.zeros((cases, before))), table(np.full((cases, after), rise))
    verdict = one(Hypothesis(*sides, margin), "regression")
    assert verdict.p_value > 0.9
    assert verdict.outcome is not FAIL


def test_the_p_of_a_row_that_fails_is_of_the_loss_whatever_the_gate() -> None:
    lost, slightly = asked(about(-0.3)), asked(about(-0.1))
    failed, also, better = judge([lost, slightly, asked(about(0.3))], "improvement", 0.05)
    assert (failed.outcome, also.outcome, better.outcome) == (FAIL, FAIL, PASS)
    assert failed.p_adjusted < also.p_adjusted <= 0.05
    assert better.p_adjusted <= 0.05
    assert failed.p_value == one(lost, "regression").p_value


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=30), st.sampled_from(KINDS), st.sampled_from([0.0, 0.05]))
def test_a_row_that_fails_shows_a_p_that_says_so(changes: list[float], kind: Kind, margin: float) -> None:
    verdict = one(asked(changes, margin), kind)
    if verdict.outcome is not OPEN and not (kind == "regression" and verdict.outcome is PASS):
        assert verdict.p_adjusted <= 0.05
