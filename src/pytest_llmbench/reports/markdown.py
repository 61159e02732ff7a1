"""The report for pull-request comments and job summaries, in GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.wording import UNSCORED, Words, words
from pytest_llmbench.reports import gate_sentences
from pytest_llmbench.reports.cautions import cautions
from pytest_llmbench.reports.changed_settings import changed_settings
from pytest_llmbench.reports.gate_sentences import Gate, Verdict
from pytest_llmbench.reports.judgement import cut_short, opening
from pytest_llmbench.reports.markdown_cases import case_block, telling_rows
from pytest_llmbench.reports.markdown_description import description
from pytest_llmbench.reports.markdown_routing import routing_parts
from pytest_llmbench.reports.markdown_text import code, details, left_out, prose, table, within_limit
from pytest_llmbench.reports.score_remarks import about_scores
from pytest_llmbench.reports.score_tables import counts_text
from pytest_llmbench.reports.silent_categories import silence, telling
from pytest_llmbench.runs.case_counts import count
from pytest_llmbench.runs.gate_notes import note_text

SYMBOLS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}

_MOST_VERDICTS = 30
_MOST_CATEGORIES = 60
_MOST_SENTENCES = 6
_MOST_NOTES = 15
_MOST_MOVED = 4  # verdicts whose cases are shown
_SETTINGS_CELLS = 600
_FACTS = ("base_model", "lora_adapter", "device", "timestamp")


def markdown(document: Mapping[str, Any], language: str) -> str:
    """The run's outcome, verdicts, categories, cases that moved most, notes and provenance.

    Under 60,000 characters whatever the run holds. A run with nothing to compare is described, not judged.

    Raises:
        UsageError: the language is unknown.
    """
    say = words(language)
    gate = document["gate"] or document.get("comparison")
    body = description(document, say) if gate is None else _judged(document, gate, say)
    return within_limit([*body, *routing_parts(document, say), _provenance(document, say)], say)


def _judged(document: Mapping[str, Any], gate: Gate, say: Words) -> Iterator[str]:
    part = cut_short(document, say)
    if gate is document["gate"] or part is None:
        yield f"### {SYMBOLS[gate['outcome']]} {prose(gate_sentences.heading(gate, say))}"
    else:
        yield f"### {prose(say('gate_labelled', label=say('no_verdict'), text=_against_base(say)))}"
    lines = opening(document, say)
    yield "\n".join(f"- {prose(line)}" for line in (lines[1:] if document["gate"] else lines))
    yield "\n".join(f"- {prose(line)}" for line in [*about_scores(document, say), *cautions(document, say)])
    judged = part is None or gate is document["gate"]
    overall = gate_sentences.overall(gate)
    if overall:
        rows = overall[:_MOST_VERDICTS]
        yield _verdict_table(rows, gate, say, judged=judged) + left_out(len(overall) - len(rows), say)
        yield prose(gate_sentences.p_meaning(gate, say))
    if not judged:
        return
    yield _settling(gate, say)
    yield _notes(gate, say)
    yield _categories(gate, say)
    yield prose(silence(gate, say) or "")
    yield from _moved(document, gate, say)


def _against_base(say: Words) -> str:
    return say("gate_compare", against=say("gate_against_base"))


def _verdict_table(verdicts: Sequence[Verdict], gate: Gate, say: Words, *, judged: bool) -> str:
    rows = [_row(verdict, gate, say) for verdict in verdicts]
    return table(_header(gate, say), rows if judged else [[UNSCORED, *row[1:]] for row in rows], names=3)


def _header(gate: Gate, say: Words) -> list[str]:
    titles = [say(key) for key in ("markdown_verdict", "variant", "metric", "markdown_before_after", "markdown_change")]
    return [*titles, say("markdown_interval", percent=gate_sentences.confidence(gate, say)), "p", "n"]


def _row(verdict: Verdict, gate: Gate, say: Words) -> list[str]:
    return [
        _outcome(verdict, gate, say),
        code(verdict["variant"]),
        prose(say.metric(verdict["metric"])),
        f"{say.number(verdict['before'])} → {say.number(verdict['after'])}",
        say.number(verdict["effect"], signed=True),
        _interval(verdict, say),
        prose(gate_sentences.p_value(verdict, say)),
        count(verdict, say),
    ]


def _outcome(verdict: Verdict, gate: Gate, say: Words) -> str:
    return f"{SYMBOLS[verdict['outcome']]} {gate_sentences.outcome_word(verdict['outcome'], gate, say).lower()}"


def _interval(verdict: Verdict, say: Words) -> str:
    if verdict["low"] is None or verdict["high"] is None:
        return UNSCORED
    return f"[{say.number(verdict['low'], signed=True)}; {say.number(verdict['high'], signed=True)}]"


def _settling(gate: Gate, say: Words) -> str:
    unsettled = [verdict for verdict in gate_sentences.overall(gate) if verdict["outcome"] == "inconclusive"]
    lines = [
        "- " + _labelled(prose(_subject(verdict, say)), prose(gate_sentences.settling(verdict, gate, say)), say)
        for verdict in unsettled[:_MOST_SENTENCES]
    ]
    return "\n".join(lines) + left_out(len(unsettled) - len(lines), say)


def _subject(verdict: Verdict, say: Words) -> str:
    return gate_sentences.subject(verdict, say.metric(verdict["metric"]), say)


def _notes(gate: Gate, say: Words) -> str:
    """Never folded away: what differs between the sides decides how far the verdict carries."""
    if not gate["notes"]:
        return ""
    shown = gate["notes"][:_MOST_NOTES]
    labels = [say.texts.get(f"note_{note['kind']}", note["kind"]) for note in shown]
    lines = [
        "- " + _labelled(prose(label), prose(note_text(note, say)), say)
        for label, note in zip(labels, shown, strict=True)
    ]
    body = "\n".join(lines) + left_out(len(gate["notes"]) - len(shown), say)
    return f"**{say('markdown_notes')}**\n\n{body}"


def _categories(gate: Gate, say: Words) -> str:
    unsettled = gate_sentences.open_categories(gate)
    passed = [one for one in gate["verdicts"] if one["category"] is not None and one["outcome"] == "pass"]
    found = telling([*unsettled, *passed], gate)
    if not found:
        return ""
    shown = found[:_MOST_CATEGORIES]
    rows = [[code(one["category"]), *_row(one, gate, say)] for one in shown]
    body = table([say("category"), *_header(gate, say)], rows, names=4)
    counts = ", ".join(
        f"{SYMBOLS[outcome]} {number}"
        for outcome in SYMBOLS
        if (number := sum(one["outcome"] == outcome for one in found))
    )
    return details(_labelled(say("markdown_categories"), counts, say), body + left_out(len(found) - len(shown), say))


def _moved(document: Mapping[str, Any], gate: Gate, say: Words) -> Iterator[str]:
    """One part a verdict. Against a baseline the run holds only its own answers."""
    telling = [verdict for verdict in gate_sentences.deciding(gate) if verdict["moved"]]
    for verdict in telling[:_MOST_MOVED]:
        rows = telling_rows(document, verdict)
        shown = [*([BASE] if gate["against"] == "base" else []), verdict["variant"]]
        blocks = [
            case_block(case["case"], (case["before"], case["after"]), rows.get(case["case"]), shown, say)
            for case in verdict["moved"]
        ]
        yield details(_labelled(say("markdown_moved"), prose(_subject(verdict, say)), say), "\n".join(blocks))


def _provenance(document: Mapping[str, Any], say: Words) -> str:
    metadata, gate = document["metadata"], document["gate"]
    facts = [(say(key), code(str(metadata[key]), 80)) for key in _FACTS if metadata.get(key)]
    facts.append((say("counts"), prose(counts_text(document, say))))
    if git := metadata.get("git"):
        dirty = f" ({say('markdown_dirty')})" if git["dirty"] else ""
        facts.append((say("markdown_commit"), code(git["commit"] or say("unknown")) + dirty))
    if engine := (metadata.get("backend") or {}).get("engine"):
        facts.append((say("markdown_engine"), code(str(engine), 80)))
    if changed := changed_settings(metadata.get("settings") or {}):
        told = ", ".join(f"{key}: {value}" for key, value in changed.items())
        facts.append((say("settings_changed"), code(told, _SETTINGS_CELLS)))
    if metadata.get("seed") is not None:
        facts.append((say("markdown_seed"), code(str(metadata["seed"]))))
    if versions := metadata.get("versions"):
        facts.append((say("markdown_versions"), code(", ".join(map(" ".join, versions.items())), 300)))
    if gate and gate["baseline"]:
        facts.append((say("markdown_baseline"), _baseline(gate["baseline"])))
    if gate and gate["verdicts"]:
        facts.append((say("markdown_method"), code(gate["verdicts"][0]["method"], 200)))
    return details(say("markdown_provenance"), "\n".join("- " + _labelled(*fact, say) for fact in facts))


def _baseline(baseline: Mapping[str, Any]) -> str:
    known = [baseline[key] for key in ("name", "timestamp", "commit") if baseline[key]]
    return ", ".join(map(code, known))


def _labelled(label: str, text: str, say: Words) -> str:
    return say("gate_labelled", label=label, text=text)
