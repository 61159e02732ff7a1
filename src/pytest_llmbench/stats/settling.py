"""How many cases, or epochs, would settle a verdict that is open: if the effect is what it seems, and if it is not."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from pytest_llmbench.stats.power import Spread, cases_needed, cases_to_see, epochs_needed

Kind = Literal["regression", "improvement", "compare"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is open: the kind of gate, its border, its whole alpha, and the hypothesis's own share of it.

    `scale` is the most that a score can change, None where that is unknown.
    """

    kind: Kind
    margin: float
    alpha: float
    level: float
    scale: float | None


def needed_cases(spread: Spread, question: Question, effect: float) -> int | None:
    """How many cases would settle it four times in five, were this the effect; None where a million would not.

    Where nothing changed and no margin is set, no number does: nothing shows that a thing is exactly nothing.
    """
    distance, level = _to_show(question, effect)
    if spread.unit is not None and (effect or spread.squares):
        share = abs(effect) / spread.unit
        variance = spread.unit**2 * (max(spread.churn(spread.unit), share / spread.answers) - share**2)
        spread = dataclasses.replace(spread, variance=max(variance, spread.variance if spread.variance > 0 else 0.0))
    found = cases_needed(spread, distance, level)
    if question.kind != "regression" or not question.margin or question.scale is None or effect <= -question.margin:
        return found
    seen = cases_to_see(effect, question.margin, question.scale, question.alpha)
    if seen is None or (found is None and spread.variance > 0):
        return None
    return max(spread.cases + 1, seen, found or 0)


def needed_range(
    spread: Spread, question: Question, effect: float, ends: tuple[float, float] | None
) -> tuple[int, int | None] | None:
    """The least and the most cases that would settle it, over effects from one end of the interval to the other.

    The most is None where an effect as plausible as others cannot be told from the border.
    """
    if ends is None:
        return None
    found = [needed_cases(spread, question, at) for at in (effect, *ends)]
    known = [cases for cases in found if cases is not None]
    if not known or found[0] is None:
        return None
    return min(known), None if None in found else max(known)


def needed_epochs(spread: Spread, question: Question, effect: float) -> int | None:
    """How many epochs of the same cases would settle it, were this the effect."""
    return epochs_needed(spread, *_to_show(question, effect))


def _to_show(question: Question, effect: float) -> tuple[float, float]:
    """How far an effect lies beyond the border that more data would show it to have crossed, and the level for that.

    0 where there is none: within the margin of an improvement gate, more data shows neither better nor worse.
    """
    if question.kind == "regression":
        beyond = effect + question.margin
        return abs(beyond), question.alpha if beyond > 0 else question.level
    return max(0.0, math.fabs(effect) - question.margin), question.level
