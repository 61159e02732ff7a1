"""What a report says first: each fine-tune against its base, with the interval that the word rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.reports import gate_sentences
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.typed import GateDocument, RunDocument, VerdictDocument

_OTHERS = {
    "pass": N_("Better too: {metrics}."),
    "fail": N_("Worse: {metrics}."),
    "inconclusive": N_("No change shown: {metrics}."),
}


def against_base(document: RunDocument) -> GateDocument | None:
    """What holds each fine-tune against its base: the run's gate where it does, else the comparison beside it."""
    gate = document.gate
    return gate if gate is not None and gate.tells_better else document.comparison


def beside_the_gate(document: RunDocument) -> GateDocument | None:
    """The comparison with the base where the run's gate, if it has one, judged something else."""
    found = against_base(document)
    return None if found is document.gate else found


def is_part(document: RunDocument) -> bool:
    """Whether a run ended early or was limited to the first cases: no comparison with its base is a verdict then."""
    return document.metadata.cut_short is not None or _limited(document)


def cut_short(document: RunDocument, say: Words) -> str | None:
    """Why a run is only part of what it was to be: ended early, or limited to the first cases. None for a whole one."""
    if not is_part(document):
        return None
    if ended := document.metadata.cut_short:
        return say(
            "CUT SHORT: {results} of {planned} results. A part of a run has no verdict.",
            results=ended.results,
            planned=ended.planned,
        )
    if document.gate is not None and document.gate.outcome == "fail":
        return say(
            "LIMITED to the first cases ({cases}, benchmark.limit). A part of the cases can show that something got "
            "worse, not that nothing did.",
            cases=document.statistics.cases,
        )
    return say(
        "LIMITED to the first cases ({cases}, benchmark.limit). A part of the cases has no verdict.",
        cases=document.statistics.cases,
    )


def kept_answers(folder: Path, resume: str, say: Words) -> str:
    """Of a run that was cut short: where its answers are, and by which option it goes on."""
    return say("cut short: every answer so far is in {folder}; go on with {option}", folder=folder, option=resume)


def interrupted(say: Words) -> str:
    """Of reports that Ctrl-C left unmade."""
    return say("interrupted while the reports were made")


def unjudged(say: Words) -> str:
    """Of a run that was cut short: its gate has no outcome."""
    return say("the run was cut short: the gate has judged nothing")


def outcome_of(gate: GateDocument, variant: str) -> str:
    """One fine-tune's outcome: any fail fails it, one overall pass makes it better, else nothing is shown.

    As the gate of it alone would say, which passes over no category in doubt and on no remembered answers.
    """
    own = _own(gate, variant)
    if any(one.outcome == "fail" for one in own):
        return "fail"
    if any(one.in_doubt for one in own) or _is_remembered(gate, variant):
        return "inconclusive"
    passed = any(one.outcome == "pass" and one.category is None for one in own)
    return "pass" if passed else "inconclusive"


def is_proved(document: RunDocument, variant: str, metric: str) -> bool:
    """Whether a whole run shows `variant` better than the base, and so in `metric`: only then may it be praised."""
    gate = against_base(document)
    if gate is None or is_part(document) or outcome_of(gate, variant) != "pass":
        return False
    own = [one for one in _own(gate, variant) if one.metric == metric and one.category is None]
    return any(one.outcome == "pass" for one in own)


def verdict_sentences(document: RunDocument, say: Words) -> list[str]:
    """A sentence a fine-tune: better, worse or no change shown, and its evidence; of a part of a run, no such word."""
    gate = against_base(document)
    if gate is None:
        return []
    part = cut_short(document, say)
    lines = [part] if part else []
    for variant in gate_sentences.variants(gate.verdicts):
        lines += _sentences(gate, variant, say, judged=part is None)
    return (
        lines
        if gate.verdicts
        else [*lines, say("NO VERDICT: no metric that judges is scored for both the base and a fine-tune.")]
    )


def opening(document: RunDocument, say: Words) -> list[str]:
    """The first lines of a report: what the gate came to and why, then the comparison that it did not make."""
    gate, part = document.gate, cut_short(document, say)
    if gate is None:
        return verdict_sentences(document, say) or [*([part] if part else []), *_uncompared(document, say)]
    told = [gate_sentences.heading(gate, say), gate_sentences.reason(gate, say)]
    beside = verdict_sentences(document, say) if beside_the_gate(document) else [part] if part else []
    return [*told, *beside]


def _uncompared(document: RunDocument, say: Words) -> list[str]:
    if document.adapters:
        return [say("NO VERDICT: this document was not held against its base.")]
    return [
        say(
            "Only {variant} answered: there is nothing to compare. Run with a base and an adapter for a verdict.",
            variant=name,
        )
        for name in document.variants
    ]


def _sentences(gate: GateDocument, variant: str, say: Words, *, judged: bool) -> Iterator[str]:
    outcome = outcome_of(gate, variant)
    leading = _deciding(_own(gate, variant), outcome)
    told = gate_sentences.evidence(leading, gate, say.metric(leading.metric), say)
    word = say(gate_sentences.COMPARED[outcome]) if judged else say("NO VERDICT")
    yield say("{label}: {text}", label=word, text=told)
    if judged:
        yield from _others(gate, variant, leading, say)


def _others(gate: GateDocument, variant: str, leading: VerdictDocument, say: Words) -> Iterator[str]:
    """The other questions over all categories by their answer, names only."""
    overall = [one for one in _own(gate, variant) if one.category is None and one is not leading]
    for outcome, sentence in _OTHERS.items():
        names = [say.metric(one.metric) for one in overall if one.outcome == outcome]
        if names:
            yield say(sentence, metrics=", ".join(names))


def _deciding(own: Sequence[VerdictDocument], outcome: str) -> VerdictDocument:
    """The verdict that made the outcome: a category in doubt, else overall before category, in the metrics' order."""
    made = [one for one in own if one.outcome == outcome] or list(own)
    order = {name: place for place, name in enumerate(LEADING_METRICS)}
    return min(made, key=lambda one: (not one.in_doubt, one.category is not None, order.get(one.metric, len(order))))


def _is_remembered(gate: GateDocument, variant: str) -> bool:
    noted = [note for note in gate.notes if note.kind == "cached_alone"]
    return any(note.data.get("variant", variant) == variant for note in noted)


def _own(gate: GateDocument, variant: str) -> list[VerdictDocument]:
    return [one for one in gate.verdicts if one.variant == variant]


def _limited(document: RunDocument) -> bool:
    if document.metadata.limited is not None:
        return document.metadata.limited
    limit = document.metadata.setting("benchmark", "limit")  # of older runs it is not known what it left out
    return limit is not None and document.statistics.cases >= limit
