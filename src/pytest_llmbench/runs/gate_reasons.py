"""Why a gate came to its outcome, in one sentence of the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.runs.case_counts import cases_text, units_text
from pytest_llmbench.runs.typed import Because, GateDocument, VerdictDocument

CACHED_ALONE = N_(
    "it passes on remembered answers alone, which prove nothing of the model that the server has now; ask anew with"
    " generation.cache: false"
)
NOTHING_SCORED, NO_SHARED_CASE, NO_COUNTERPART = "nothing_compared", "no_shared_case", "no_counterpart"
"""Why nothing could be compared."""
BATCHED = "batched"
"""Why times could not be."""
LIMITED = "limited"
"""Why a gate does not pass of which `benchmark.limit` left cases out."""
UNJUDGED, NOTED_UNJUDGED = "unjudged", "noted_unjudged"
"""Why a gate does not pass that judged only some of its fine-tunes, and the key of the notes that name the others."""
_NOTHING_JUDGED = {
    NOTHING_SCORED: N_("nothing could be compared: no metric of the gate is scored on both sides"),
    NO_SHARED_CASE: N_("nothing could be compared: the run and the baseline have no case in common"),
    NO_COUNTERPART: N_("nothing could be compared: no variant of the run has a counterpart in the baseline"),
    BATCHED: N_("nothing could be compared: answers shared batches, so that none has a time of its own"),
    "no_baseline": N_("there is no baseline '{name}' yet: nothing was compared"),
    "cached_alone": CACHED_ALONE,
    UNJUDGED: N_("{variants} could not be judged: no metric of the gate is scored on both sides"),
}
_JUDGED = {
    "worse": N_("{told}"),
    "unchanged": N_("no score changed in any case{left_open}"),
    "not_worse": N_("nothing got worse by more than its margin: {told}"),
    "better": N_("better, and nothing worse: {told}"),
    LIMITED: N_("only the first cases were asked (benchmark.limit), which show nothing of the others: {told}"),
    "category_in_doubt": N_("{category} may have got worse by more than its margin, on too few cases to tell: {told}"),
}
_IN_DOUBT_WITHOUT_MARGIN = N_("{category} may have got worse, on too few cases to tell: {told}")
_NOT_SHOWN = {
    "regression": N_("neither a regression nor its absence could be shown from these cases: {told}{left_open}"),
    "improvement": N_("no improvement could be shown from these cases: {told}{left_open}"),
    "compare": N_("no change could be shown from these cases: {told}{left_open}"),
}
_NOT_SHOWN_OF = {
    "improvement": N_("no improvement of {variant} could be shown from these cases: {told}{left_open}"),
    "compare": N_("no change of {variant} could be shown from these cases: {told}{left_open}"),
}
"""Where others may have been shown to be better: each of several fine-tunes must be."""
_AND_OTHERS = {
    "worse": N_("{told}, and {count} more got worse"),
    "category_in_doubt": N_("{told}; so may {count} more in the table"),
}

_LEAST_P = 0.001
_NAME_CELLS = 60


def because(verdicts: Sequence[VerdictDocument], outcome: str, kind: str, nothing: str = NOTHING_SCORED) -> Because:
    """What decided, or why nothing could: a key of the reports' sentences, and the verdict that stands for it.

    `nothing` is the key where there is no verdict.
    """
    if not verdicts:
        return Because(kind=nothing, verdict=None, others=0)
    deciding = [index for index, verdict in enumerate(verdicts) if verdict.outcome == outcome]
    first = min(deciding or range(len(verdicts)), key=lambda index: _order(verdicts[index]))
    if outcome == "fail":
        return Because(kind="worse", verdict=first, others=len(deciding) - 1)
    if outcome == "pass":
        if all(verdict.changed == 0 for verdict in verdicts):
            return Because(kind="unchanged", verdict=first, others=0)
        return Because(kind="not_worse" if kind == "regression" else "better", verdict=first, others=0)
    doubtful = [index for index, verdict in enumerate(verdicts) if verdict.in_doubt]
    if doubtful:
        nearest_to_failing = max if kind == "improvement" else min  # there p is of a gain
        first = nearest_to_failing(doubtful, key=lambda index: _order(verdicts[index]))
        return Because(kind="category_in_doubt", verdict=first, others=len(doubtful) - 1)
    if kind != "regression":  # one metric is enough for a fine-tune
        passed = {verdict.variant for verdict in verdicts if verdict.category is None and verdict.outcome == "pass"}
        lacking = [index for index in deciding if verdicts[index].variant not in passed]
        first = min(lacking or [first], key=lambda index: _order(verdicts[index]))
    return Because(kind="not_shown", verdict=first, others=0)


def because_of(gate: GateDocument) -> Because:
    """What a gate says of itself, or what its verdicts say where an older one holds an English sentence alone."""
    if gate.because is not None:
        return gate.because
    if any(note.kind == "cached_alone" for note in gate.notes):
        return Because(kind="cached_alone", verdict=None, others=0)
    return because(gate.verdicts, gate.outcome, gate.kind)


def _order(verdict: VerdictDocument) -> tuple[bool, float, float]:
    return verdict.category is not None, _or_one(verdict.p_adjusted), _or_one(verdict.p_value)


def _or_one(p_value: float | None) -> float:
    return 1.0 if p_value is None else p_value


def reason_of(gate: GateDocument, say: Words, named: Callable[[str], str]) -> str:
    """The sentence of the gate's `because`: what decided, or why nothing could. `named` gives a metric's name.

    Of a kind that this version does not know the gate's own sentence stands.
    """
    why = because_of(gate)
    if why.kind not in {*_NOTHING_JUDGED, *_JUDGED, "not_shown"}:
        return gate.reason
    if why.verdict is None:
        return say(_NOTHING_JUDGED[why.kind], name=_baseline_name(gate), variants=_unjudged(gate))
    verdict, others = gate.verdicts[why.verdict], why.others
    of_a_gain = gate.kind == "improvement" and why.kind == "category_in_doubt"
    told = _told(verdict, say, named(verdict.metric), with_p=why.kind not in {"not_worse", LIMITED} and not of_a_gain)
    names = {"variant": short(verdict.variant), "category": short(verdict.category or "")}
    said = say(_sentence(why.kind, gate, verdict), told=told, left_open=_left_open(verdict, say), **names)
    return say(_AND_OTHERS[why.kind], told=said, count=others) if others else said


def _sentence(kind: str, gate: GateDocument, verdict: VerdictDocument) -> str:
    if kind == "not_shown":
        several = len({one.variant for one in gate.verdicts}) > 1
        own = [one for one in gate.verdicts if one.variant == verdict.variant and one.category is None]
        shown = any(one.outcome == "pass" for one in own)  # earlier builds named the least p of all
        return (_NOT_SHOWN_OF if several and gate.kind != "regression" and not shown else _NOT_SHOWN)[gate.kind]
    if kind == "category_in_doubt" and (gate.kind == "compare" or not verdict.margin):
        return _IN_DOUBT_WITHOUT_MARGIN
    return _JUDGED[kind]


def _left_open(verdict: VerdictDocument, say: Words) -> str:
    """Which fall so many cases do not rule out; of a score from 0 to 1, where nothing changed, how many may lose it.

    Gates stored before that was known say nothing.
    """
    fall = verdict.not_ruled_out
    if fall is not None and verdict.changed == 0 and verdict.units is not None and 0 <= verdict.before <= 1:
        cases = units_text(verdict, verdict.units, say)
        return say(
            "; with {cases}, a loss in up to {share} of such is not ruled out", cases=cases, share=say.percent(fall)
        )
    return not_ruled_out(verdict, say) if verdict.margin else ""


def not_ruled_out(verdict: VerdictDocument, say: Words) -> str:
    """The greatest fall that the cases do not rule out, to stand behind another sentence; nothing where unknown."""
    fall = verdict.not_ruled_out
    if fall is None:
        return ""
    direction = say("drop") if verdict.higher_is_better else say("rise")
    return say("; a {direction} by up to {size} is not ruled out", direction=direction, size=say.number(fall))


def subject_text(metric: str, variant: str, category: str | None, say: Words) -> str:
    """`relevance of finetuned in tool_routing`."""
    if category is None:
        return say("{metric} of {variant}", metric=metric, variant=variant)
    return say("{metric} of {variant} in {category}", metric=metric, variant=variant, category=category)


def short(name: str) -> str:
    """A name of the user's on one line, cut in the middle with plain dots where it is very long."""
    return shorten_middle(name, _NAME_CELLS, "...")


def _baseline_name(gate: GateDocument) -> str:
    return next((str(note.data.get("name", "")) for note in gate.notes if note.data), "")


def _unjudged(gate: GateDocument) -> str:
    return ", ".join(short(str(note.data.get("variant"))) for note in gate.notes if note.key == NOTED_UNJUDGED)


def _told(verdict: VerdictDocument, say: Words, metric: str, *, with_p: bool) -> str:
    interval = ""
    if verdict.low is not None and verdict.high is not None:
        low, high = say.number(verdict.low, signed=True), say.number(verdict.high, signed=True)
        interval = say("95% interval of the change {low} to {high}, ", low=low, high=high)
    return say(
        "{subject} went from {before} to {after} ({interval}{p}{cases})",
        subject=subject_text(metric, verdict.variant, verdict.category, say),
        before=say.number(verdict.before),
        after=say.number(verdict.after),
        interval=interval,
        p=_p_value(verdict.p_adjusted, say) if with_p else "",
        cases=cases_text(verdict, say),
    )


def _p_value(p_value: float | None, say: Words) -> str:
    if p_value is None:
        return ""
    return say("p {p}, ", p=f"< {say.number(_LEAST_P)}" if p_value < _LEAST_P else f"= {say.number(p_value)}")
