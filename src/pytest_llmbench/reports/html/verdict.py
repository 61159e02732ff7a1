"""The gate's answer, and the comparison with the base, as the top of the page shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pytest_llmbench.core.locale import N_, UNSCORED, Words
from pytest_llmbench.reports.gate_sentences import confidence, outcome_word, p_meaning, p_value_text, reason
from pytest_llmbench.reports.html.scale import Scale, farthest, symmetric
from pytest_llmbench.reports.judgement import beside_the_gate, cut_short, verdict_sentences
from pytest_llmbench.reports.methods import method_text
from pytest_llmbench.reports.pairing import unit
from pytest_llmbench.reports.silent_categories import silence, telling
from pytest_llmbench.runs.case_counts import groups_text, needed_range, units_text
from pytest_llmbench.runs.gate_notes import note_text, note_title
from pytest_llmbench.runs.typed import GateDocument, Moved, RunDocument, VerdictDocument

_KINDS = {
    "regression": N_("Regression gate"),
    "improvement": N_("Improvement gate"),
    "compare": N_("Comparison"),
}
_VERDICTS = {
    "base": N_("each fine-tune against its base"),
    "baseline": N_("this run against the baseline"),
}
_AGAINST = {
    "baseline": N_("the same variant in the baseline run"),
    "base": N_("its own base in this run"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class VerdictRow:
    """One verdict: its texts by column, and where its interval lies on the group's axis, in percent."""

    outcome: str
    word: str
    variant: str
    metric: str
    category: str | None
    texts: Mapping[str, str | None]
    moved: Sequence[Moved]
    effect: float
    low: float | None
    high: float | None
    margin: float | None
    method: str


@dataclasses.dataclass(frozen=True, slots=True)
class VerdictGroup:
    """Verdicts that share an axis because they share a unit and a direction."""

    unit: str | None
    higher_is_better: bool
    scale: Scale
    rows: Sequence[VerdictRow]


@dataclasses.dataclass(frozen=True, slots=True)
class GateView:
    """What the page says of a gate, or of the comparison with the base. `outcome` is none where it has no verdict."""

    outcome: str
    title: str
    stamp: str
    consequence: str
    lines: Sequence[str]
    silence: str | None
    confidence: str
    p_meaning: str
    facts: Sequence[tuple[str, str]]
    groups: Sequence[VerdictGroup]
    notes: Sequence[tuple[str, str, Sequence[str]]]


def gate_views(document: RunDocument, say: Words) -> list[GateView]:
    """The gate of the document in the reader's words, then the comparison with the base that it did not make."""
    gate, beside = document.gate, beside_the_gate(document)
    views = [] if gate is None else [_view(gate, [reason(gate, say)], document, say)]
    if beside is not None:
        view = _view(beside, verdict_sentences(document, say), document, say)
        views.append(_unjudged(view, say) if cut_short(document, say) else view)
    return views


def _unjudged(view: GateView, say: Words) -> GateView:
    """The same evidence without a word of judgement: it is of a part of a run."""
    word = say("NO VERDICT").capitalize()
    groups = [
        dataclasses.replace(group, rows=[dataclasses.replace(row, outcome="none", word=word) for row in group.rows])
        for group in view.groups
    ]
    stamp = say("{name}: {value}", name=say("Comparison"), value=word)
    return dataclasses.replace(view, outcome="none", stamp=stamp, groups=groups)


def _view(gate: GateDocument, lines: Sequence[str], document: RunDocument, say: Words) -> GateView:
    groups: dict[tuple[str | None, bool], list[VerdictDocument]] = {}
    for item in telling(gate.verdicts, gate):
        groups.setdefault((unit(document, item.metric), item.higher_is_better), []).append(item)
    return GateView(
        outcome=gate.outcome,
        title=say("{name}: {value}", name=say("Verdicts"), value=say(_VERDICTS[gate.against])),
        stamp=say("{name}: {value}", name=say(_KINDS[gate.kind]), value=_word(gate.outcome, gate, say)),
        consequence=_consequence(gate, say),
        lines=lines,
        silence=silence(gate, say),
        confidence=confidence(gate, say),
        p_meaning=p_meaning(gate, say),
        facts=_facts(gate, say),
        groups=[_group(items, name, gate, say, higher=higher) for (name, higher), items in groups.items()],
        notes=[(note_title(note, say), note_text(note, say), note.cases) for note in gate.notes],
    )


def _word(outcome: str, gate: GateDocument, say: Words) -> str:
    """`Pass` and the like; a comparison tells better from worse instead."""
    return outcome_word(outcome, gate, say).capitalize()


def _consequence(gate: GateDocument, say: Words) -> str:
    if gate.failed:
        return say("The session ends with exit code 1.")
    if gate.kind == "compare":
        return say("This fails no session: it was only compared.")
    if gate.because is not None and gate.because.kind == "no_baseline":
        return say("This fails no session: a baseline may be missing (gate.missing_baseline).")
    return "" if gate.outcome == "pass" else say("This fails no session: what is open passes (gate.inconclusive).")


def _facts(gate: GateDocument, say: Words) -> list[tuple[str, str]]:
    baseline = gate.baseline
    facts = [(say("Held against"), say(_AGAINST[gate.against]))]
    if baseline is not None:
        facts += [
            (say("Baseline"), baseline.name),
            (say("Date"), say.moment(baseline.timestamp) if baseline.timestamp else say("not recorded")),
        ]
        facts += [(say("Baseline commit"), baseline.commit[:12])] if baseline.commit else []
    return [
        *facts,
        (say("Alpha"), say.tick(gate.alpha)),
        (say("Confidence"), confidence(gate, say)),
    ]


def _group(
    items: Sequence[VerdictDocument], name: str | None, gate: GateDocument, say: Words, *, higher: bool
) -> VerdictGroup:
    thresholds = {id(item): _threshold(item, gate.kind) for item in items}
    reach = [value for item in items for value in (item.effect, item.low, item.high)]
    most = farthest(value for item in items for value in (item.before, item.after))
    scale = symmetric([*reach, *thresholds.values()], most=most)
    rows = [_row(item, _word(item.outcome, gate, say), scale, thresholds[id(item)], say) for item in items]
    return VerdictGroup(name, higher, scale, rows)


def _threshold(item: VerdictDocument, kind: str) -> float | None:
    """The effect at which the verdict turns, where a margin moves it away from zero."""
    if not item.margin or kind == "compare":  # a comparison takes no margin into account
        return None
    wanted = item.margin if kind == "improvement" else -item.margin
    return float(wanted if item.higher_is_better else -wanted)


def _row(item: VerdictDocument, word: str, scale: Scale, threshold: float | None, say: Words) -> VerdictRow:
    return VerdictRow(
        outcome=item.outcome,
        word=word,
        variant=item.variant,
        metric=say.metric(item.metric),
        category=item.category,
        texts={
            "before": say.number(item.before),
            "after": say.number(item.after),
            "effect": say.number(item.effect, signed=True),
            "interval": _interval(item, say),
            "p": p_value_text(item.p_adjusted, say),
            "p_raw": say.number(item.p_value),
            "n": say.count(item.n) + (f" × {item.epochs}" if item.epochs > 1 else ""),
            "groups": groups_text(item, say),
            "left_open": _left_open(item, say),
            "detectable": say.number(item.detectable),
            "needed": _needed(item, say),
            "needed_range": needed_range(item, say, say.count),
        },
        moved=item.moved,
        effect=scale.at(item.effect),
        low=None if item.low is None else scale.at(item.low),
        high=None if item.high is None else scale.at(item.high),
        margin=None if threshold is None else scale.at(threshold),
        method=method_text(item.method, say),
    )


def _interval(item: VerdictDocument, say: Words) -> str:
    if item.low is None or item.high is None:
        return say("none: too few pairs")
    return say("{low} to {high}", low=say.number(item.low, signed=True), high=say.number(item.high, signed=True))


def _needed(item: VerdictDocument, say: Words) -> str:
    cases, epochs = item.needed_cases, item.needed_epochs
    ways = [
        None if cases is None else units_text(item, cases, say, say.count),
        None if epochs is None else say("{count} epochs", count=say.count(epochs)),
    ]
    return say(" or ").join(filter(None, ways)) or UNSCORED


def _left_open(item: VerdictDocument, say: Words) -> str | None:
    fall = item.not_ruled_out
    return None if fall is None else say("not ruled out: {size}", size=say.number(fall))
