"""A context run held against an earlier one: did a limit fall, and are fewer facts found at a length?

Limits are compared by their intervals of `1 - gate.alpha`: one fell where the whole interval now lies beneath that of
before, which has at most the chance alpha where nothing changed. Facts are compared as pairs, question by question, as
a benchmark's cases are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.context.limit_intervals import limits_at
from pytest_llmbench.core.setting_sections import FACTS_MARGIN, LIMITS_MARGIN
from pytest_llmbench.runs.context_document import (
    ComparisonNote,
    ContextComparison,
    ContextDocument,
    ContextTarget,
    ContextVerdict,
    LimitDocument,
    LimitName,
)
from pytest_llmbench.stats import CONFIDENCE, Hypothesis, Outcome, Verdict, judge

if TYPE_CHECKING:
    from pytest_llmbench.core.settings import GateSettings
    from pytest_llmbench.runs.context_document import Value
    from pytest_llmbench.runs.context_runs import SavedContext
    from pytest_llmbench.stats import Kind

_Pair = tuple[ContextTarget, ContextTarget]
_Limits = Mapping[LimitName, LimitDocument]


def compare_context(baseline: SavedContext, run: ContextDocument, settings: GateSettings) -> ContextComparison:
    """The comparison that the gate's settings ask for; without a gate it fails no session."""
    kind: Kind = "compare" if settings.kind == "off" else settings.kind
    pairs, notes = _pairs(baseline.document.targets, run.targets)
    verdicts: list[ContextVerdict] = []
    margin = settings.margins.get(LIMITS_MARGIN, settings.margin)
    for pair in pairs:
        notes += _differences(pair)
        judged = [
            dict(limits_at(target, settings.alpha, document.metadata.settings).sought())
            for target, document in zip(pair, (baseline.document, run), strict=True)
        ]
        verdicts += _limits(pair, (judged[0], judged[1]), kind, margin)
    if verdicts and not math.isclose(settings.alpha, 1 - CONFIDENCE):
        notes.append(ComparisonNote(code="confidence", values={"share": 1 - settings.alpha}))
    facts, others = _facts(pairs, kind, settings)
    verdicts += facts
    judged_targets = {verdict.target for verdict in verdicts}
    unjudged = dict.fromkeys(after.name for _, after in pairs if after.name not in judged_targets)
    notes += [ComparisonNote(code="target_unjudged", values={"target": name}) for name in unjudged]
    outcome = _outcome(verdicts, kind)
    if outcome is Outcome.PASS and unjudged:
        outcome = Outcome.INCONCLUSIVE
    return ContextComparison(
        kind=kind,
        name=baseline.name,
        created=baseline.document.metadata.created,
        alpha=settings.alpha,
        outcome=outcome.value,
        failed=_fails(outcome, verdicts, settings),
        verdicts=tuple(verdicts),
        notes=(*notes, *others),
    )


def _pairs(before: Sequence[ContextTarget], after: Sequence[ContextTarget]) -> tuple[list[_Pair], list[ComparisonNote]]:
    """Targets of one name; the only one of each side, whatever they are called."""
    if len(before) == len(after) == 1:
        names = before[0].name, after[0].name
        differs = [ComparisonNote(code="model_differs", values={"before": names[0], "after": names[1]})]
        return [(before[0], after[0])], differs if names[0] != names[1] else []
    known = {target.name: target for target in before}
    pairs = [(known[target.name], target) for target in after if target.name in known]
    paired = {target.name for _, target in pairs}
    missing = dict.fromkeys(target.name for target in [*before, *after] if target.name not in paired)
    return pairs, [ComparisonNote(code="target_missing", values={"target": name}) for name in missing]


def _differences(pair: _Pair) -> Iterator[ComparisonNote]:
    before, after = pair
    if before.promise != after.promise:
        yield ComparisonNote(code="promise_differs", values={"target": after.name})
    if before.counting.method != after.counting.method:
        methods = {"before": before.counting.method, "after": after.counting.method}
        yield ComparisonNote(code="counting_differs", values={"target": after.name, **methods})
    sought = [dict(one.limits.sought()) for one in pair]
    for name in sorted(sought[0].keys() ^ sought[1].keys()):
        yield ComparisonNote(code="limit_missing", values={"target": after.name, "limit": name})


def _limits(pair: _Pair, judged: tuple[_Limits, _Limits], kind: Kind, margin: float) -> Iterator[ContextVerdict]:
    """Of each limit that both runs sought; in time only where they promised the same.

    The limits in `judged` have the intervals that decide; those of the runs themselves are shown.
    """
    before, after = pair
    earlier = dict(before.limits.sought())
    for name, limit in after.limits.sought():
        if name in earlier and (name != "in_time" or before.promise == after.promise):
            low, high = _change(earlier[name], limit, kind)
            yield ContextVerdict(
                target=after.name,
                about=name,
                outcome=_limit_outcome(*_change(judged[0][name], judged[1][name], kind), kind, margin).value,
                before=earlier[name].tokens,
                after=limit.tokens,
                effect=_relative(earlier[name].tokens, limit.tokens),
                low=None if low == math.inf else low,
                high=high,
                margin=margin,
                n=limit.probes,
            )


def _relative(before: int, after: int) -> float | None:
    """The relative change; None of what rose from nothing."""
    if before == after:
        return 0.0
    return after / before - 1 if before else None


def _change(before: LimitDocument, after: LimitDocument, kind: Kind) -> tuple[float | None, float | None]:
    """The interval of the relative change; an end that was not seen leaves it open.

    To be no worse it is enough to hold all that was tried before. More than that is no rise: it was never asked for.
    What surely was nothing and now is something rose beyond any share.
    """
    most = before.tokens if before.high is None else before.high
    low: float | None = after.low / most - 1 if most else math.inf if after.low else 0.0
    if before.high is None and kind != "regression":
        low = None
    high = None if after.high is None or not before.low else after.high / before.low - 1
    return low, high


def _limit_outcome(low: float | None, high: float | None, kind: Kind, margin: float) -> Outcome:
    counted = 0.0 if kind == "compare" else margin
    if high is not None and high < -counted:
        return Outcome.FAIL
    if low is not None and (low >= -counted if kind == "regression" else low > counted):
        return Outcome.PASS
    return Outcome.INCONCLUSIVE


def _facts(
    pairs: Iterable[_Pair], kind: Kind, settings: GateSettings
) -> tuple[list[ContextVerdict], list[ComparisonNote]]:
    """Of each length of each target, over the questions that both runs asked there; one family of tests."""
    asked: list[tuple[str, int, Hypothesis]] = []
    notes: list[ComparisonNote] = []
    margin = settings.margins.get(FACTS_MARGIN, settings.margin)
    for before, after in pairs:
        earlier, later = _found(before), _found(after)
        chosen = {*before.lengths, *after.lengths}  # between these, answers decide where more is asked
        if alone := sorted((earlier.keys() ^ later.keys()) & chosen):
            values: dict[str, Value] = {"target": after.name, "lengths": ", ".join(map(str, alone))}
            notes.append(ComparisonNote(code="other_lengths", values=values))
        for length in sorted(earlier.keys() & later.keys()):
            both = sorted(earlier[length].keys() & later[length].keys())
            if not both:
                notes.append(ComparisonNote(code="other_questions", values={"target": after.name, "length": length}))
                continue
            sides = [np.array([side[length][needle] for needle in both]) for side in (earlier, later)]
            asked.append((after.name, length, Hypothesis.once(sides[0], sides[1], margin=margin)))
    judged = judge([one for _, _, one in asked], kind, settings.alpha) if asked else []
    rows = zip(asked, judged, strict=True)
    return [_fact_verdict(name, length, one, margin) for (name, length, _), one in rows], notes


def _found(target: ContextTarget) -> Mapping[int, Mapping[str, float]]:
    """By length, the share of facts that each question found."""
    found: dict[int, dict[str, float]] = {}
    for probe in target.probes:
        if probe.needle is not None and probe.correct is not None:
            found.setdefault(probe.length, {})[probe.needle] = probe.correct
    return found


def _fact_verdict(name: str, length: int, one: Verdict, margin: float) -> ContextVerdict:
    return ContextVerdict(
        target=name,
        about="facts",
        length=length,
        outcome=one.outcome.value,
        before=one.before,
        after=one.after,
        effect=one.effect,
        low=one.low,
        high=one.high,
        p_value=one.p_value,
        p_adjusted=one.p_adjusted,
        margin=margin,
        n=one.n,
        needed=one.needed_cases,
    )


def _outcome(verdicts: Sequence[ContextVerdict], kind: Kind) -> Outcome:
    """Any fail fails; a regression gate passes where all pass, the others where any does.

    A limit of what is still found that is open keeps none from passing where facts were compared: these tell more.
    """
    outcomes = {verdict.outcome for verdict in verdicts}
    if "fail" in outcomes:
        return Outcome.FAIL
    if kind != "regression":
        return Outcome.PASS if "pass" in outcomes else Outcome.INCONCLUSIVE
    told = {verdict.target for verdict in verdicts if verdict.about == "facts"}
    passes = {one.outcome for one in verdicts if not (one.about == "right" and one.target in told)} == {"pass"}
    return Outcome.PASS if passes else Outcome.INCONCLUSIVE


def _fails(outcome: Outcome, verdicts: Sequence[ContextVerdict], settings: GateSettings) -> bool:
    """As a benchmark's gate: comparing nothing guards nothing."""
    if settings.kind == "off":
        return False
    strict = settings.inconclusive == "fail" or (settings.inconclusive == "auto" and settings.kind == "improvement")
    return outcome is Outcome.FAIL or not verdicts or (strict and outcome is Outcome.INCONCLUSIVE)
