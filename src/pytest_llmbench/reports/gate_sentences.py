"""What a gate says, as plain sentences in the reader's language: terminal, annotations and Markdown share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_llmbench.core.locale import N_, NN_, UNSCORED, Words
from pytest_llmbench.runs.case_counts import count, needed_text
from pytest_llmbench.runs.gate_reasons import LIMITED, not_ruled_out, reason_of, short, subject_text
from pytest_llmbench.runs.typed import GateDocument, VerdictDocument

GATED = {
    "pass": N_("PASS"),
    "fail": N_("FAIL"),
    "inconclusive": N_("INCONCLUSIVE"),
}
COMPARED = {
    "pass": N_("BETTER"),
    "fail": N_("WORSE"),
    "inconclusive": N_("NO CHANGE SHOWN"),
}
_GATED_COUNTS = {
    "pass": NN_("{count} pass", "{count} pass"),
    "fail": NN_("{count} fail", "{count} fail"),
    "inconclusive": NN_("{count} inconclusive", "{count} inconclusive"),
}
_COMPARED_COUNTS = {
    "pass": NN_("{count} better", "{count} better"),
    "fail": NN_("{count} worse", "{count} worse"),
    "inconclusive": NN_("{count} no change shown", "{count} no change shown"),
}
_KINDS = {
    "regression": N_("regression gate against {against}"),
    "improvement": N_("improvement gate against {against}"),
    "compare": N_("comparison with {against}"),
}
_P_SIDES = {
    "regression": N_("the chance of such a change for the worse where nothing got worse"),
    "improvement": N_("the chance of such a gain where nothing got better"),
    "compare": N_("the chance of such a change where nothing changed"),
}

_P_OF_FAILED_IMPROVEMENT = N_(
    "the chance of such a gain where nothing got better, or, in a row that failed, of such a loss where nothing got "
    "worse"
)

_LEAST_P = 0.001
_LEAST_CASES = 2  # for an interval
_COMMIT_CHARS = 8


def heading(gate: GateDocument, say: Words) -> str:
    """`FAIL: regression gate against baseline 0007_accepted (0123abcd): the session fails`."""
    baseline = gate.baseline
    if any(note.kind == "no_baseline" for note in gate.notes):
        against = say("a baseline that is missing")
    elif baseline is None:
        against = say("each adapter's own base")
    else:
        commit = f" ({baseline.commit[:_COMMIT_CHARS]})" if baseline.commit else ""
        against = say("baseline {name}", name=short(baseline.name)) + commit
    done = say(_KINDS[gate.kind], against=against)
    said = say("{label}: {text}", label=outcome_word(gate.outcome, gate, say), text=done)
    if gate.kind == "compare" or (gate.outcome == "pass" and not gate.failed):
        return said
    consequence = say("the session fails") if gate.failed else say("the session does not fail for it")
    return say("{text}; {more}", text=said, more=consequence)


def outcome_word(outcome: str, gate: GateDocument, say: Words) -> str:
    """`PASS` and the like; a comparison, which gates nothing, tells better from worse instead, if it compared all."""
    of_a_part = gate.because is not None and gate.because.kind == LIMITED
    if gate.kind == "compare" and (of_a_part or not gate.verdicts):
        return say("NO VERDICT")
    return say((COMPARED if gate.kind == "compare" else GATED)[outcome])


def outcome_counts(verdicts: Sequence[VerdictDocument], gate: GateDocument, say: Words) -> str:
    """How many verdicts of each outcome there are: `3 pass, 2 inconclusive`."""
    counted = _COMPARED_COUNTS if gate.kind == "compare" else _GATED_COUNTS
    counts = Counter(verdict.outcome for verdict in verdicts)
    return ", ".join(say.plural(*counted[outcome], count) for outcome, count in counts.items())


def subject(verdict: VerdictDocument, metric: str, say: Words) -> str:
    """`relevance of finetuned in tool_routing`; `metric` is the name that the reader knows it by."""
    return subject_text(short(metric), short(verdict.variant), verdict.category and short(verdict.category), say)


def evidence(verdict: VerdictDocument, gate: GateDocument, metric: str, say: Words) -> str:
    """One sentence with the means, the effect, its interval, p and the count."""
    interval = ""
    if verdict.low is not None and verdict.high is not None:
        low, high = say.number(verdict.low, signed=True), say.number(verdict.high, signed=True)
        interval = say("{percent} interval {low} to {high}, ", percent=confidence(gate, say), low=low, high=high)
    p = p_value_text(verdict.p_adjusted, say)
    return say(
        "{subject}: {before} -> {after}, {effect} ({interval}p {p}, n = {cases})",
        subject=subject(verdict, metric, say),
        before=say.number(verdict.before),
        after=say.number(verdict.after),
        effect=say.number(verdict.effect, signed=True),
        interval=interval,
        p=p.replace("<", "< ") if p.startswith("<") else f"= {p}",
        cases=count(verdict, say),
    )


def settling(verdict: VerdictDocument, gate: GateDocument, say: Words) -> str:
    """What would settle an inconclusive verdict, what its cases could have shown, and what they do not rule out."""
    remedy, power = _remedy(verdict, say), _power(verdict, gate, say)
    told = say("{text}; {more}", text=remedy, more=power) if power else remedy
    return told + not_ruled_out(verdict, say)


def _remedy(verdict: VerdictDocument, say: Words) -> str:
    cases, epochs = needed_text(verdict, say), verdict.needed_epochs
    if cases is not None and epochs is not None:
        return say("about {cases}, or {epochs} epochs, would settle it", cases=cases, epochs=epochs)
    if cases is not None:
        return say("about {cases} would settle it", cases=cases)
    if epochs is not None:
        return say("{epochs} epochs would settle it", epochs=epochs)
    if verdict.n < _LEAST_CASES:
        return (
            say("one case is too few for a verdict; add cases") if verdict.n else say("no case is scored on both sides")
        )
    return say("how many cases would settle it cannot be told")


def _power(verdict: VerdictDocument, gate: GateDocument, say: Words) -> str:
    """A regression gate looks for the metric getting worse, an improvement gate for it getting better."""
    if verdict.detectable is None:
        return ""
    falls = verdict.higher_is_better == (gate.kind != "improvement")
    direction, size = say("drop") if falls else say("rise"), say.number(abs(verdict.detectable))
    return say(
        "with these {cases} a {direction} of {size} would have been found (4 times in 5)",
        cases=verdict.n,
        direction=direction,
        size=size,
    )


def p_meaning(gate: GateDocument, say: Words) -> str:
    """How p and the interval are to be read."""
    alpha = say.tick(gate.alpha)
    failed = [one.p_adjusted or 0.0 for one in gate.verdicts if one.outcome == "fail"]
    lost = gate.kind == "improvement" and failed and max(failed) <= gate.alpha  # earlier builds kept the p of a gain
    side = say(_P_OF_FAILED_IMPROVEMENT if lost else _P_SIDES[gate.kind])
    return say(
        "p, {side}, is adjusted for all that is tested here (Holm) and held against alpha {alpha}; the "
        "interval ({confidence}) is of the mean change.",
        side=side,
        alpha=alpha,
        confidence=confidence(gate, say),
    )


def confidence(gate: GateDocument, say: Words) -> str:
    """`95%`."""
    return say("{value}%", value=say.tick(gate.confidence * 100))


def p_value_text(p: float | None, say: Words) -> str:
    """A p-value, `<0.001` below that."""
    if p is None:
        return UNSCORED
    return f"<{say.number(_LEAST_P)}" if p < _LEAST_P else say.number(p)


def overall_title(gate: GateDocument) -> list[VerdictDocument]:
    """The verdicts over all categories."""
    return [verdict for verdict in gate.verdicts if verdict.category is None]


def open_categories(gate: GateDocument) -> list[VerdictDocument]:
    """The categories that failed, worst first, then the inconclusive ones."""
    found = [verdict for verdict in gate.verdicts if verdict.category is not None]
    unsettled = [verdict for verdict in found if verdict.outcome != "pass"]
    return sorted(unsettled, key=lambda verdict: (verdict.outcome != "fail", _p(verdict)))


def deciding(gate: GateDocument) -> list[VerdictDocument]:
    """The verdicts that made the outcome: the failed ones, else the inconclusive, else all overall ones.

    A category is left out where its metric decides over all categories already.
    """
    made = [verdict for verdict in gate.verdicts if verdict.outcome == gate.outcome != "pass"]
    covered = {(one.variant, one.metric) for one in made if one.category is None}
    return [one for one in made if one.category is None or (one.variant, one.metric) not in covered] or overall_title(
        gate
    )


def reason(gate: GateDocument, say: Words) -> str:
    """Why the gate came to its outcome: the same evidence in each language. One without verdicts keeps its sentence."""
    if not gate.because and not gate.verdicts:
        return str(gate.reason)
    return reason_of(gate, say, say.metric)


def variants(verdicts: Sequence[VerdictDocument]) -> list[str]:
    """The variants that were judged, in the gate's order."""
    return list(dict.fromkeys(verdict.variant for verdict in verdicts))


def _p(verdict: VerdictDocument) -> float:
    return 1.0 if verdict.p_adjusted is None else float(verdict.p_adjusted)
