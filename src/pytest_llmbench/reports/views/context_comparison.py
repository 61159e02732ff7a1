"""A context run held against an earlier one, as blocks, and what CI shows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.locale import N_, UNSCORED
from pytest_llmbench.reports.blocks import (
    Alert,
    Block,
    Cell,
    Column,
    Depth,
    Name,
    Outcome,
    Report,
    Section,
    Sentences,
    Table,
    Verdict,
)
from pytest_llmbench.reports.context_words import COUNTING, LIMIT_TITLES
from pytest_llmbench.reports.gate_sentences import COMPARED, GATED, p_value_text
from pytest_llmbench.reports.serving.words import ServingWords, serving_words

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ContextComparison, ContextVerdict

_NOTES = {
    "target_missing": N_("{target} is in one of the two runs only"),
    "target_unjudged": N_("{target}: nothing of it could be compared"),
    "model_differs": N_("the model was {before}, and is {after} now"),
    "promise_differs": N_("{target}: another latency is promised now, so that limits in time are not compared"),
    "counting_differs": N_("{target}: tokens were counted in another way ({before}, now {after})"),
    "other_questions": N_("{target}: other questions were asked at {length} tokens, so that facts are not compared"),
    "other_lengths": N_("{target}: facts were asked for in one of the two runs only at {lengths} tokens: not compared"),
    "limit_missing": N_("{target}: {limit}: measured in one of the two runs only, so that it is not compared"),
    "confidence": N_("limits are judged by their {share} intervals (gate.alpha), and shown with those of 95 %"),
}


def comparison_report(comparison: ContextComparison, language: str) -> Report:
    """A comparison that stands alone.

    Raises:
        UsageError: the language is unknown.
    """
    say = serving_words(language)
    section = comparison_section(comparison, say)
    return Report(section.title, language, [section], list(comparison_alerts(comparison, say)))


def comparison_section(comparison: ContextComparison, say: ServingWords) -> Section:
    """The outcome, every verdict with what it rests on, and what keeps the runs from being compared in full."""
    columns = [
        Column(say("Verdict"), left=True),
        Column(say("Target"), left=True),
        Column(say("What"), left=True),
        Column(say("Before")),
        Column(say("Now")),
        Column(say("Change")),
        Column(say("95 % interval")),
        Column("p"),
        Column("n"),
    ]
    rows = [_verdict(one, comparison, say) for one in comparison.verdicts]
    notes = [say(_NOTES[note.code], **_worded(note.values, say)) for note in comparison.notes]
    if not comparison.verdicts:
        notes.append(say("nothing could be compared"))
    blocks: list[Block] = [
        Verdict(comparison.outcome, _outcome_sentence(comparison, say), depth=Depth.BRIEF),
        Table(columns, rows, depth=Depth.BRIEF),
        Sentences(notes, depth=Depth.BRIEF),
    ]
    return Section("comparison", say("Compared with an earlier run"), blocks)


def failing(comparison: ContextComparison, say: ServingWords) -> str:
    """What fails the session, in a line; where no single verdict does, the outcome."""
    errors = [alert for alert in comparison_alerts(comparison, say) if alert.level == "error"]
    told = [say("{label}: {text}", label=alert.title, text=line) for alert in errors for line in alert.lines]
    return "; ".join(told) or _outcome_sentence(comparison, say)


def _outcome_sentence(comparison: ContextComparison, say: ServingWords) -> str:
    """What came of the comparison, and with which run."""
    return say(
        "{label}: {text}",
        label=_word(comparison.outcome, comparison, say),
        text=say("compared with {name} of {created}", name=comparison.name, created=say.moment(comparison.created)),
    )


def _verdict(one: ContextVerdict, comparison: ContextComparison, say: ServingWords) -> list[Cell]:
    shown = say.share if one.about == "facts" else (lambda tokens: say.count(round(tokens)))
    low, high = _change(one.low, one, say), _change(one.high, one, say)
    return [
        Outcome(one.outcome, _word(one.outcome, comparison, say).lower()),
        Name(one.target),
        _about(one, say),
        shown(one.before),
        shown(one.after),
        _change(one.effect, one, say),
        UNSCORED if one.low is one.high is None else say("{low} to {high}", low=low, high=high),
        p_value_text(one.p_adjusted, say),
        say.count(one.n),
    ]


def _change(change: float | None, one: ContextVerdict, say: ServingWords) -> str:
    """Relative of a limit, which has none where it was 0; of shares their difference."""
    if change is None:
        return UNSCORED
    if one.about == "facts":
        return say("{value} points", value=say.hundredths(change, signed=True))
    return say.percent(change, signed=True)


def _about(one: ContextVerdict, say: ServingWords) -> str:
    if one.about == "facts":
        return say("Facts found at {length} tokens", length=say.count(one.length or 0))
    return say("Limit: {name}", name=say(LIMIT_TITLES[one.about]))


def _word(outcome: str, comparison: ContextComparison, say: ServingWords) -> str:
    return say((COMPARED if comparison.kind == "compare" else GATED)[outcome])


def _worded(values: Mapping[str, Any], say: ServingWords) -> dict[str, str]:
    """Values of a note in words: among them are ways to count tokens, and limits."""
    return {name: _noted(name, value, say) for name, value in values.items()}


def _noted(name: str, value: Any, say: ServingWords) -> str:
    match value:
        case int():
            return say.count(value)
        case float():
            return say.wanted(value)
    return str(value) if name == "target" else _named(value, say)


def _named(value: str, say: ServingWords) -> str:
    known = {str(name): text for table in (COUNTING, LIMIT_TITLES) for name, text in table.items()}
    return say(known[value]) if value in known else value


def comparison_alerts(comparison: ContextComparison, say: ServingWords) -> Iterator[Alert]:
    """An error for what fails the session: a failed verdict, or that nothing was judged. A warning for what is open."""
    for one in comparison.verdicts:
        if one.outcome == "pass":
            continue
        cells = _verdict(one, comparison, say)
        told = {"what": cells[2], "before": cells[3], "after": cells[4], "change": cells[5]}
        line = say("{what}: {before}, now {after} ({change})", **told)
        fails = comparison.failed and one.outcome == "fail"
        title = say("{label}: {text}", label=_word(one.outcome, comparison, say).lower(), text=one.target)
        yield Alert("error" if fails else "warning", title, [line])
    unjudged = [str(note.values["target"]) for note in comparison.notes if note.code == "target_unjudged"]
    if not comparison.verdicts and not unjudged:
        unjudged = [comparison.name]
    fails = comparison.failed and comparison.outcome == "inconclusive"
    for name in unjudged:
        title = say("{label}: {text}", label=_word("inconclusive", comparison, say).lower(), text=name)
        yield Alert("error" if fails else "warning", title, [say("nothing could be compared")])
