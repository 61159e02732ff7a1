"""A gate, or the comparison of fine-tunes with their base: outcome, evidence, what is open, what moved, and notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmbench.core.locale import Words, words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports import gate_sentences
from pytest_llmbench.reports.blocks import (
    Alert,
    Block,
    Cases,
    Cell,
    Change,
    Column,
    Delta,
    Depth,
    Details,
    Heading,
    Interval,
    Name,
    Outcome,
    Report,
    Section,
    Sentences,
    Table,
    Verdict,
    Verdicts,
)
from pytest_llmbench.reports.judgement import is_part, verdict_sentences
from pytest_llmbench.reports.limits import MOVED_VERDICTS
from pytest_llmbench.reports.silent_categories import silence, telling
from pytest_llmbench.reports.views.cases import moved_case, telling_rows
from pytest_llmbench.runs.case_counts import count
from pytest_llmbench.runs.gate_notes import note_text, note_title
from pytest_llmbench.runs.gate_reasons import LIMITED, because_of
from pytest_llmbench.runs.typed import GateDocument, RunDocument, VerdictDocument


def gate_report(gate: GateDocument, language: str, document: RunDocument | None = None) -> Report:
    """A gate that stands alone: of two saved runs, or at the end of a session.

    `document` is the run that was judged; without it, what moved is shown without answers. The comparison of a part of
    a run is no verdict.

    Raises:
        UsageError: the language is unknown.
    """
    say = words(language)
    heading = gate_sentences.heading(gate, say)
    if document is not None and gate.kind == "compare" and gate.against == BASE and is_part(document):
        return Report(_unjudged(say), language, [comparison_section(gate, say, document, Depth.BRIEF)])
    return Report(heading, language, [gate_section(gate, say, document)], alerts(gate, say))


def gate_section(gate: GateDocument, say: Words, document: RunDocument | None) -> Section:
    """The gate of a run."""
    opening: list[Block] = [Verdict(gate.outcome, gate_sentences.heading(gate, say), depth=Depth.BRIEF)]
    if why := gate_sentences.reason(gate, say):
        opening.append(Sentences([why], listed=False, depth=Depth.BRIEF))
    blocks = [*opening, *_evidence_blocks(gate, say, document, depth=Depth.BRIEF)]
    return Section("gate", say("Verdict"), blocks)


def comparison_section(gate: GateDocument, say: Words, document: RunDocument, depth: Depth) -> Section:
    """A run's comparison with the base; of a part of a run, the evidence without any word of judgement.

    `depth` is that of its heading.
    """
    judged = not is_part(document)
    blocks: list[Block] = [
        Verdict(gate.outcome, gate_sentences.heading(gate, say), depth=depth)
        if judged
        else Verdict("none", _unjudged(say), depth=depth),
        Sentences(verdict_sentences(document, say), listed=False, depth=Depth.BRIEF),
        *_evidence_blocks(gate, say, document, depth=Depth.SUMMARY, judged=judged),
    ]
    return Section("comparison", say("Verdict"), blocks)


def _unjudged(say: Words) -> str:
    against = say("comparison with {against}", against=say("each adapter's own base"))
    return say("{label}: {text}", label=say("NO VERDICT"), text=against)


def _evidence_blocks(
    gate: GateDocument, say: Words, document: RunDocument | None, *, depth: Depth, judged: bool = True
) -> Iterator[Block]:
    """What an outcome rests on. Not `judged`, it is the same evidence without any word of judgement."""
    overall = gate_sentences.overall_title(gate)
    if overall:
        yield _verdict_table(overall, gate, say, depth=depth, judged=judged)
        yield Sentences([gate_sentences.p_meaning(gate, say)], listed=False, depth=depth)
    if not judged:
        return
    yield Sentences(list(_settling(overall, gate, say)), depth=depth)
    yield from _notes(gate, say, depth)
    yield from _categories(gate, say, depth)
    if quiet := silence(gate, say):
        yield Sentences([quiet], listed=False, depth=depth)
    yield from _moved(gate, say, document, depth)


def alerts(gate: GateDocument, say: Words) -> list[Alert]:
    """An error a failed verdict, warnings for what is open or noteworthy; what fails no session is a warning."""
    failed = [one for one in gate.verdicts if one.outcome == "fail"]
    told = [(_title(one, gate, say), [_evidence(one, gate, say), *_moved_lines(one, say)]) for one in failed]
    doubts = [
        (_title(one, gate, say), [_evidence(one, gate, say), gate_sentences.settling(one, gate, say)])
        for one in _open(gate)
    ]
    notes = [(note_title(note, say), [note_text(note, say)]) for note in gate.notes]
    if not told and (gate.failed or because_of(gate).kind == LIMITED):
        told = [(gate_sentences.heading(gate, say), [gate_sentences.reason(gate, say)])]
    level: Any = "error" if gate.failed else "warning"
    return [
        *(Alert(level, title, lines) for title, lines in told),
        *(Alert("warning", title, lines) for title, lines in [*doubts, *notes]),
    ]


def _open(gate: GateDocument) -> list[VerdictDocument]:
    """What keeps the gate from passing. Other categories have few cases and are often open: the report has them."""
    found = [one for one in gate_sentences.overall_title(gate) if one.outcome == "inconclusive"]
    found += [one for one in gate.verdicts if one.in_doubt]
    return [] if gate.outcome == "pass" else found


def _title(verdict: VerdictDocument, gate: GateDocument, say: Words) -> str:
    return say("{label}: {text}", label=_word(verdict, gate, say), text=_subject(verdict, say))


def _word(verdict: VerdictDocument, gate: GateDocument, say: Words) -> str:
    return gate_sentences.outcome_word(verdict.outcome, gate, say).lower()


def _subject(verdict: VerdictDocument, say: Words) -> str:
    return gate_sentences.subject(verdict, say.metric(verdict.metric), say)


def _evidence(verdict: VerdictDocument, gate: GateDocument, say: Words) -> str:
    return gate_sentences.evidence(verdict, gate, say.metric(verdict.metric), say)


def _moved_lines(verdict: VerdictDocument, say: Words) -> list[str]:
    return [
        say("{label}: {text}", label=one.case, text=f"{say.number(one.before)} -> {say.number(one.after)}")
        for one in verdict.moved
    ]


def _verdict_table(
    verdicts: Sequence[VerdictDocument],
    gate: GateDocument,
    say: Words,
    *,
    depth: Depth,
    judged: bool = True,
    by_category: bool = False,
) -> Table:
    columns = [
        Column(say("Verdict"), left=True),
        *([Column(say("Category"), left=True)] if by_category else []),
        Column(say("Variant"), left=True),
        Column(say("Metric"), left=True),
        Column(say("Before -> after")),
        Column(say("Change")),
        Column(say("{percent} interval", percent=gate_sentences.confidence(gate, say))),
        Column("p"),
        Column("n"),
    ]
    rows = [_row(one, gate, say, judged=judged, by_category=by_category) for one in verdicts]
    return Table(columns, rows, depth=depth)


def _row(verdict: VerdictDocument, gate: GateDocument, say: Words, *, judged: bool, by_category: bool) -> list[Cell]:
    outcome: Verdicts = verdict.outcome if judged else "none"
    return [
        Outcome(outcome, _word(verdict, gate, say) if judged else "-"),
        *([Name(verdict.category or "")] if by_category else []),
        Name(verdict.variant),
        say.metric(verdict.metric),
        Change(verdict.before, verdict.after),
        Delta(verdict.effect),
        Interval(verdict.low, verdict.high),
        gate_sentences.p_value_text(verdict.p_adjusted, say),
        count(verdict, say),
    ]


def _settling(overall: Sequence[VerdictDocument], gate: GateDocument, say: Words) -> Iterator[str]:
    for one in overall:
        if one.outcome == "inconclusive":
            yield say("{label}: {text}", label=_subject(one, say), text=gate_sentences.settling(one, gate, say))


def _notes(gate: GateDocument, say: Words, depth: Depth) -> Iterator[Block]:
    """Never folded away: what differs between the sides decides how far the verdict carries."""
    if gate.notes:
        yield Heading(say("What keeps the two sides from being quite the same"), depth=depth)
        told = [say("{label}: {text}", label=note_title(note, say), text=note_text(note, say)) for note in gate.notes]
        yield Sentences(told, depth=depth)


def _categories(gate: GateDocument, say: Words, depth: Depth) -> Iterator[Block]:
    """The failed ones first; those that passed have a row where there is room."""
    unsettled = telling(gate_sentences.open_categories(gate), gate)
    passed = [one for one in gate.verdicts if one.category is not None and one.outcome == "pass"]
    found = [*unsettled, *telling(passed, gate)]
    title = say("{label}: {text}", label=say("By category"), text=gate_sentences.outcome_counts(found, gate, say))
    if depth is Depth.BRIEF:
        brief = _verdict_table(unsettled, gate, say, depth=depth, by_category=True)
        yield dataclasses.replace(brief, until=Depth.BRIEF)
    if found:
        yield Details(title, [_verdict_table(found, gate, say, depth=Depth.SUMMARY, by_category=True)])


def _moved(gate: GateDocument, say: Words, document: RunDocument | None, depth: Depth) -> Iterator[Block]:
    """The cases that lost most in the verdicts that made the outcome, with the answers that are in the run.

    Against a baseline the run holds only its own answers.
    """
    shown = [one for one in gate_sentences.deciding(gate) if one.moved][:MOVED_VERDICTS]
    if not shown:
        return
    passed = gate.outcome == "pass" and gate.kind != "compare"
    if depth is Depth.BRIEF and not passed:
        yield _moved_table(shown, say)
    blocks: list[Block] = []
    for one in shown:
        rows = telling_rows(document, one) if document else {}
        variants = [*([BASE] if gate.against == "base" else []), one.variant]
        moved = [moved_case(case, rows.get(case.case), variants, say) for case in one.moved]
        blocks += [Heading(_subject(one, say)), Cases(moved)]
    yield Details(say("Cases that moved most"), blocks)


def _moved_table(verdicts: Sequence[VerdictDocument], say: Words) -> Table:
    columns = [
        Column(say("Cases that moved most"), left=True),
        Column(say("Metric"), left=True),
        Column(say("Before -> after")),
    ]
    rows: list[list[Cell]] = [
        [Name(case.case), _subject(one, say), Change(case.before, case.after)] for one in verdicts for case in one.moved
    ]
    return Table(columns, rows, depth=Depth.BRIEF, until=Depth.BRIEF)
