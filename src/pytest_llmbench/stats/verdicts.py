"""From paired differences to verdicts: worse, better, or not to be told from these cases."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pytest_llmbench.stats.families import holm
from pytest_llmbench.stats.intervals import INTERVAL_METHOD, mean_interval
from pytest_llmbench.stats.planning import cases_needed, detectable_effect, epochs_needed, spread
from pytest_llmbench.stats.significance import Test, p_above, p_below

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["regression", "improvement", "compare"]

_ROUNDING = 1e-12


class Outcome(enum.StrEnum):
    """What a verdict, or a whole gate, comes to."""

    PASS = "pass"  # noqa: S105  # a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One question of a gate: did this metric, over these cases, get worse, or better?

    `differences` has one number an answer, positive for better; `cases` says to which case (0, 1, …) each belongs.
    `weight` is its share of the error that the whole family may make.
    """

    differences: NDArray[np.float64]
    cases: NDArray[np.int64]
    margin: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one hypothesis and what it rests on. Effects are positive for better, in the metric's unit.

    `low` and `high` are the two-sided interval of the effect, None where all cases differ alike. `p_value` is of the
    test that could decide (worse for a regression gate, better for an improvement gate, either for a comparison),
    `p_adjusted` the same after Holm's correction. `detectable` is the effect, margin included, that so many cases find
    with 80 % power; `needed_cases` and `needed_epochs` would settle an inconclusive verdict if the effect is what it
    seems.
    """

    outcome: Outcome
    effect: float
    low: float | None
    high: float | None
    p_value: float
    p_adjusted: float
    n: int
    epochs: float
    detectable: float | None
    needed_cases: int | None
    needed_epochs: int | None
    method: str


def judge(hypotheses: Sequence[Hypothesis], kind: Kind, alpha: float) -> list[Verdict]:
    """A verdict for each hypothesis; that any of them is falsely `fail`, or falsely better, has at most chance alpha.

    `fail` means worse by more than the margin. A regression gate says `pass` where being worse by more than the margin
    is ruled out, or nothing changed at all; an improvement gate where being better by more than the margin is shown;
    a comparison, which tests both sides at half of alpha and without margin, where better is shown.

    Raises:
        ValueError: a hypothesis has no differences, or one that is not finite.
    """
    weights = [hypothesis.weight for hypothesis in hypotheses]
    tests = [_tests(hypothesis, kind) for hypothesis in hypotheses]
    worse = holm([test.worse.p_value for test in tests], weights)
    better = holm([test.better.p_value for test in tests], weights)
    return [
        _verdict(hypothesis, test, (worse[index], better[index]), kind, alpha, alpha * test.share / sum(weights))
        for index, (hypothesis, test) in enumerate(zip(hypotheses, tests, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class _Tests:
    """Both one-sided tests of one hypothesis; `margin` is what they were asked for, `share` that of the error."""

    means: NDArray[np.float64]
    worse: Test
    better: Test
    margin: float
    share: float


def _tests(hypothesis: Hypothesis, kind: Kind) -> _Tests:
    if not np.isfinite(hypothesis.differences).all():
        raise ValueError("differences must be finite")
    counts = np.bincount(hypothesis.cases)
    means = np.bincount(hypothesis.cases, hypothesis.differences) / counts
    means[np.abs(means) <= _ROUNDING * np.abs(hypothesis.differences).max()] = 0  # epochs that cancel out
    if kind == "compare":
        worse, better = (Test(min(1.0, 2 * one.p_value), one.method) for one in (p_below(means), p_above(means)))
        return _Tests(means, worse, better, 0.0, hypothesis.weight / 2)
    margin = hypothesis.margin
    better = p_above(means, margin if kind == "improvement" else -margin)
    return _Tests(means, p_below(means, -margin), better, margin, hypothesis.weight)


def _to_show(effect: float, margin: float, kind: Kind, alpha: float, level: float) -> tuple[float, float]:
    """How far an effect lies beyond the border that more data would show it to have crossed, and the level for that.

    0 where there is none: within the margin of an improvement gate, more data shows neither better nor worse.
    """
    if kind == "regression":
        return abs(effect + margin), alpha if effect > -margin else level
    return max(0.0, abs(effect) - margin), level


def _verdict(
    hypothesis: Hypothesis, test: _Tests, adjusted: tuple[float, float], kind: Kind, alpha: float, level: float
) -> Verdict:
    worse, better = adjusted
    # a regression gate passes only as a whole, so that "not worse" may be tested at the whole alpha for each metric
    shown = test.better.p_value if kind == "regression" else better
    unchanged = kind == "regression" and not test.means.any()
    outcome = Outcome.FAIL if worse <= alpha else Outcome.PASS if shown <= alpha or unchanged else Outcome.INCONCLUSIVE
    about_worse = kind == "regression" or (kind == "compare" and test.worse.p_value < test.better.p_value)
    deciding = test.worse if about_worse else test.better
    effect, found = float(test.means.mean()), spread(hypothesis.differences, hypothesis.cases)
    interval, is_open = mean_interval(test.means), outcome is Outcome.INCONCLUSIVE
    low, high = interval or (None, None)
    needed = _to_show(effect, test.margin, kind, alpha, level)
    findable = detectable_effect(found, level)
    return Verdict(
        outcome,
        effect,
        low,
        high,
        p_value=deciding.p_value,
        p_adjusted=worse if about_worse else better,
        n=found.cases,
        epochs=found.epochs,
        detectable=None if findable is None else test.margin + findable,
        needed_cases=cases_needed(found, *needed) if is_open else None,
        needed_epochs=epochs_needed(found, *needed) if is_open else None,
        method=f"{deciding.method}; {INTERVAL_METHOD}",
    )
