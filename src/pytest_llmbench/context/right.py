"""The longest prompt in which a model still finds what it finds in the shortest, by the paired verdicts of `stats`.

The same questions are asked at every length. A length is wrong where fewer facts are surely found than at the shortest
one; it is right where a fall by more than the margin is ruled out, and so at all lengths below it. Between the longest
that is not wrong and the first that is, further lengths are asked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.runs.context_document import LimitDocument, ReasonDocument
from pytest_llmbench.stats import Hypothesis, Outcome, Verdict, judge
from pytest_llmbench.stats.share_interval import share_interval

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ProbeDocument, Value

_NARROW = 1.1  # as near as the ends of the interval are brought
_HALF = 0.5  # a model that surely finds less at the shortest length finds nothing reliably
_MOST_ROUNDS = 5

AskAll = Callable[[int], Awaitable[Sequence["ProbeDocument"]]]
"""Asks all questions at a length."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rightness:
    """When facts count as missed: a fall of the share up to `margin` is none.

    The interval misses with the chance `alpha`: half of it at either end, all of it where only the beginning was seen.
    """

    margin: float
    alpha: float


async def find_right(
    by_length: Mapping[int, Sequence[ProbeDocument]], ask_all: AskAll, rule: Rightness, accepted: int | None = None
) -> LimitDocument | None:
    """The limit, from the probes at each length; None where nothing was asked that has an answer.

    `accepted` is the longest prompt that the server takes, where the longest length is as near to it as an answer has
    room for: what is right there is right up to it.
    """
    found = {length: list(probes) for length, probes in by_length.items() if _shares(probes)}
    if not found:
        return None
    if never := _never(found[min(found)]):
        return never
    for _ in range(_MOST_ROUNDS):
        wrong = _first_wrong(_verdicts(found, rule.margin, rule.alpha / 2))
        if wrong is None:
            break
        below = max(length for length in found if length < wrong)
        middle = math.isqrt(below * wrong)
        if wrong / below <= _NARROW or middle in found:
            break
        found[middle] = list(await ask_all(middle))
    return right_limit(found, rule, accepted)


def right_limit(
    by_length: Mapping[int, Sequence[ProbeDocument]], rule: Rightness, accepted: int | None = None
) -> LimitDocument | None:
    """What probes at several lengths say of the limit, by themselves; else as `find_right`."""
    found = {length: probes for length, probes in by_length.items() if _shares(probes)}
    if not found:
        return None
    if never := _never(found[min(found)]):
        return never
    limit = _limit(found, rule)
    return limit if accepted is None else up_to(limit, accepted)


def _never(shortest: Sequence[ProbeDocument]) -> LimitDocument | None:
    """The limit where a model surely finds less than half of the facts at the shortest length; None elsewhere."""
    asked = [probe for probe in shortest if probe.correct is not None]
    share = share_interval([probe.found for probe in asked], [probe.facts for probe in asked])
    if share.high >= _HALF:
        return None
    reason = ReasonDocument(code="never", values={"share": share.value, "length": asked[0].length})
    shorter = asked[0].length - 1  # was not asked
    return LimitDocument(tokens=0, low=0, high=shorter, decided=True, probes=len(asked), reason=reason)


def _verdicts(found: Mapping[int, Sequence[ProbeDocument]], margin: float, alpha: float) -> dict[int, Verdict]:
    """Of each length but the shortest, in order, against the shortest."""
    shortest, *others = sorted(found)
    before = _shares(found[shortest])
    hypotheses, judged = [], []
    for length in others:
        after = _shares(found[length])
        both = sorted(before.keys() & after.keys())
        if both:
            sides = [np.array([side[name] for name in both]) for side in (before, after)]
            hypotheses.append(Hypothesis.once(sides[0], sides[1], margin=margin))
            judged.append(length)
    return dict(zip(judged, judge(hypotheses, "regression", alpha), strict=True)) if judged else {}


def _shares(probes: Sequence[ProbeDocument]) -> dict[str, float]:
    """The share of facts that was found, by question; without the questions that got no answer."""
    return {probe.needle: share for probe in probes if probe.needle and (share := probe.correct) is not None}


def up_to(limit: LimitDocument, accepted: int) -> LimitDocument:
    """A limit that reaches as far as answers have room for, as one that ends with what is accepted; else as it is.

    One whose interval is open and that ends before has an end of its own.
    """
    if limit.reason.code != "end_of_range":
        return limit
    low = accepted if limit.low == limit.tokens else limit.low
    reason = ReasonDocument(code="not_accepted", values={"tokens": accepted, "asked_at": limit.tokens})
    return limit.model_copy(update={"tokens": accepted, "low": low, "reason": reason})


def _first_wrong(verdicts: Mapping[int, Verdict]) -> int | None:
    return next((length for length, one in verdicts.items() if one.outcome is Outcome.FAIL), None)


def _limit(found: Mapping[int, Sequence[ProbeDocument]], rule: Rightness) -> LimitDocument:
    lengths = sorted(found)
    verdicts = _verdicts(found, rule.margin, rule.alpha / 2)
    wrong = _first_wrong(verdicts)
    if wrong is None:
        verdicts = _verdicts(found, rule.margin, rule.alpha)
    tokens = max(length for length in lengths if wrong is None or length < wrong)
    low = lengths[0]
    for length in lengths[1:]:
        if length not in verdicts or verdicts[length].outcome is not Outcome.PASS:
            break
        low = length
    return LimitDocument(
        tokens=tokens,
        low=min(low, tokens),
        high=None if wrong is None else wrong - 1,
        decided=low == tokens and (wrong is None or wrong / tokens <= _NARROW),
        probes=sum(len(probes) for probes in found.values()),
        reason=_reason(wrong, verdicts, tokens),
    )


def _reason(wrong: int | None, verdicts: Mapping[int, Verdict], tokens: int) -> ReasonDocument:
    if wrong is None:
        return ReasonDocument(code="end_of_range", values={"tokens": tokens})
    verdict = verdicts[wrong]
    shares: dict[str, Value] = {"share": verdict.after, "share_at_shortest": verdict.before}
    return ReasonDocument(code="fewer_found", values={"length": wrong, **shares, "p_value": verdict.p_adjusted})
