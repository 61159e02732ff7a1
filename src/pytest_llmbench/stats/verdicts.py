"""From paired answers to verdicts: worse, better, or not to be told from these cases."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.stats.answers import Paired, SideScores, paired
from pytest_llmbench.stats.intervals import INTERVAL_METHOD
from pytest_llmbench.stats.multiple_testing import holm
from pytest_llmbench.stats.power import (
    Kind,
    OpenQuestion,
    detectable_effect,
    needed_cases,
    needed_epochs,
    range_to_settle,
)
from pytest_llmbench.stats.significance import EXACT_METHOD, Border, Test, change_interval, lower_end, p_above, p_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Outcome(enum.StrEnum):
    """What a verdict, or a whole gate, comes to."""

    PASS = "pass"  # noqa: S105  # a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One question of a gate: did this metric, over these cases, get worse, or better?

    Scores are greater for better. `groups` says to which group (0, 1, …) each case belongs, such as paraphrases of one
    template: a group's mean is then what was sampled; None where each case stands for itself. `weight` is the
    hypothesis's share of the error that the whole family may make. `measured_in` is the metric's unit, if it has one:
    such scores have no bound.
    """

    before: SideScores
    after: SideScores
    margin: float
    weight: float = 1.0
    groups: NDArray[np.int64] | None = None
    measured_in: str | None = None

    @staticmethod
    def once(before: Floats, after: Floats, margin: float = 0.0, weight: float = 1.0) -> Hypothesis:
        """Of cases that were each asked once on both sides."""
        return Hypothesis(SideScores.once(before), SideScores.once(after), margin, weight)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one hypothesis and what it rests on. Effects are positive for better, in the metric's unit.

    `before` and `after` are the means over all `units`: groups, or cases where there are none. `low` and `high` are the
    two-sided 95 % interval of the effect, None for one unit. `p_value` is of the test that decides (worse for a
    regression gate and for whatever failed, else better for an improvement gate, either for a comparison), `p_adjusted`
    the same after Holm's correction. `not_ruled_out` is, in a regression gate, the greatest fall that is not ruled out
    at the whole of alpha: it is less than a margin if, and only if, the verdict passes that. `detectable` is the
    effect, margin included, that so many cases find with 80 % power; `needed_cases` and `needed_epochs` would settle an
    inconclusive verdict if the effect is what it seems, `needed_cases_range` if it is anywhere in its interval (None at
    the end: no number).
    """

    outcome: Outcome
    before: float
    after: float
    effect: float
    low: float | None
    high: float | None
    p_value: float
    p_adjusted: float
    n: int
    units: int
    changed: int
    epochs: float
    not_ruled_out: float | None
    detectable: float | None
    needed_cases: int | None
    needed_cases_range: tuple[int, int | None] | None
    needed_epochs: int | None
    method: str


def judge(hypotheses: Sequence[Hypothesis], kind: Kind, alpha: float) -> list[Verdict]:
    """A verdict for each hypothesis; that any of them is falsely `fail`, or falsely better, has at most chance alpha.

    `fail` means worse by more than the margin. A regression gate says `pass` where being worse by more than the margin
    is ruled out, or, without a margin, nothing changed at all; an improvement gate where being better by more than the
    margin is shown; a comparison, which tests both sides at half of alpha and without margin, where better is shown.

    Raises:
        ValueError: a hypothesis has no answers, sides with other cases, or a score that is not finite.
    """
    weights = [hypothesis.weight for hypothesis in hypotheses]
    tests = [_tests(hypothesis, kind) for hypothesis in hypotheses]
    worse = holm([test.worse.p_value for test in tests], weights)
    better = holm([test.better.p_value for test in tests], weights)
    return [
        _verdict(test, (worse[index], better[index]), kind, alpha, alpha * test.share / sum(weights))
        for index, test in enumerate(tests)
    ]


@dataclass(frozen=True, slots=True)
class _Tests:
    """Both one-sided tests of one hypothesis; `margin` is what they were asked for, `share` that of the error.

    `borders` are the mean changes, and the p-values there, of the tests for better and for worse.
    """

    paired: Paired
    worse: Test
    better: Test
    borders: tuple[Border, Border]
    margin: float
    share: float


def _tests(hypothesis: Hypothesis, kind: Kind) -> _Tests:
    found = paired(hypothesis.before, hypothesis.after, hypothesis.groups, hypothesis.measured_in)
    margin = 0.0 if kind == "compare" else hypothesis.margin
    null = margin if kind == "improvement" else -margin
    better, worse = p_above(found.changes, null), p_below(found.changes, -margin)
    borders = Border(null, better.p_value), Border(-margin, worse.p_value)
    share = hypothesis.weight
    if kind == "compare":
        worse, better = (Test(min(1.0, 2 * one.p_value), one.method) for one in (worse, better))
        share /= 2
    return _Tests(found, worse, better, borders, margin, share)


def _verdict(test: _Tests, adjusted: tuple[float, float], kind: Kind, alpha: float, level: float) -> Verdict:
    (worse, better), found, spread = adjusted, test.paired, test.paired.spread
    outcome = _outcome(test, adjusted, kind, alpha)
    about_worse = (
        kind == "regression"
        or outcome is Outcome.FAIL
        or (kind == "compare" and test.worse.p_value < test.better.p_value)
    )
    deciding = test.worse if about_worse else test.better
    effect, ends = float(found.changes.values.mean()), change_interval(found.changes, *test.borders)
    question = OpenQuestion(kind, test.margin, alpha, level, found.changes.scale)
    is_open = outcome is Outcome.INCONCLUSIVE
    low, high = ends or (None, None)
    return Verdict(
        outcome,
        found.before,
        found.after,
        effect,
        low,
        high,
        p_value=deciding.p_value,
        p_adjusted=worse if about_worse else better,
        n=found.cases,
        units=spread.cases,
        changed=int(np.count_nonzero(found.changes.values)),
        epochs=found.epochs,
        not_ruled_out=_not_ruled_out(test, alpha) if kind == "regression" else None,
        detectable=detectable_effect(spread, level, test.margin),
        needed_cases=needed_cases(spread, question, effect) if is_open else None,
        needed_cases_range=range_to_settle(spread, question, effect, ends) if is_open else None,
        needed_epochs=needed_epochs(spread, question, effect) if is_open else None,
        method=f"{deciding.method}; {INTERVAL_METHOD if found.changes.counts(np.nan) is None else EXACT_METHOD}",
    )


def _outcome(test: _Tests, adjusted: tuple[float, float], kind: Kind, alpha: float) -> Outcome:
    worse, better = adjusted
    # a regression gate passes only as a whole, so that "not worse" may be tested at the whole alpha for each metric
    shown = test.better.p_value if kind == "regression" else better
    unchanged = kind == "regression" and not test.margin and not test.paired.changes.values.any()
    return Outcome.FAIL if worse <= alpha else Outcome.PASS if shown <= alpha or unchanged else Outcome.INCONCLUSIVE


def _not_ruled_out(test: _Tests, alpha: float) -> float | None:
    end = lower_end(test.paired.changes, alpha, test.borders[0])
    return None if end is None else max(0.0, -end)
