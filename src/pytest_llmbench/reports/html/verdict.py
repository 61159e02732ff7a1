"""The gate's answer as the top of the page shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.reports.gate_notes import note_text
from pytest_llmbench.reports.gate_sentences import confidence, p_meaning, p_value, reason
from pytest_llmbench.reports.html.pairing import unit
from pytest_llmbench.reports.html.scale import Scale, symmetric
from pytest_llmbench.reports.html.words import PageWords
from pytest_llmbench.reports.wording import UNSCORED

SYMBOLS = {"pass": "✓", "fail": "✗", "inconclusive": "?"}


@dataclasses.dataclass(frozen=True, slots=True)
class VerdictRow:
    """One verdict: its texts by column, and where its interval lies on the group's axis, in percent."""

    outcome: str
    variant: str
    metric: str
    category: str | None
    texts: Mapping[str, str]
    moved: Sequence[Mapping[str, Any]]
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
    """What the page says of a gate."""

    outcome: str
    kind: str
    failed: bool
    reason: str
    confidence: str
    p_meaning: str
    facts: Sequence[tuple[str, str]]
    groups: Sequence[VerdictGroup]
    notes: Sequence[Mapping[str, Any]]


def gate_view(document: Mapping[str, Any], language: str, say: PageWords) -> GateView | None:
    """The gate of the document in the reader's words; None where no gate was asked for."""
    gate = document["gate"]
    if gate is None:
        return None
    groups: dict[tuple[str | None, bool], list[Mapping[str, Any]]] = {}
    for item in gate["verdicts"]:
        groups.setdefault((unit(document, item["metric"]), item["higher_is_better"]), []).append(item)
    return GateView(
        outcome=gate["outcome"],
        kind=gate["kind"],
        failed=gate["failed"],
        reason=reason(gate, language, say),
        confidence=confidence(gate, say),
        p_meaning=p_meaning(gate, say),
        facts=_facts(gate, say),
        groups=[_group(items, name, gate["kind"], say, higher=higher) for (name, higher), items in groups.items()],
        notes=[{**note, "message": note_text(note, say)} for note in gate["notes"]],
    )


def _facts(gate: Mapping[str, Any], say: PageWords) -> list[tuple[str, str]]:
    baseline = gate["baseline"]
    facts = [(say("gate_against"), say(f"against_{gate['against']}"))]
    if baseline is not None:
        facts += [(say("gate_baseline"), baseline["name"]), (say("timestamp"), baseline["timestamp"] or say("unknown"))]
        facts += [(say("gate_commit"), baseline["commit"][:12])] if baseline["commit"] else []
    return [
        *facts,
        (say("gate_alpha"), say.tick(gate["alpha"])),
        (say("gate_confidence"), confidence(gate, say)),
    ]


def _group(
    items: Sequence[Mapping[str, Any]], name: str | None, kind: str, say: PageWords, *, higher: bool
) -> VerdictGroup:
    thresholds = {id(item): _threshold(item, kind) for item in items}
    reach = [item[key] for item in items for key in ("effect", "low", "high")]
    scale = symmetric([*reach, *thresholds.values()])
    rows = [_row(item, scale, thresholds[id(item)], say) for item in items]
    return VerdictGroup(name, higher, scale, rows)


def _threshold(item: Mapping[str, Any], kind: str) -> float | None:
    """The effect at which the verdict turns, where a margin moves it away from zero."""
    if not item["margin"]:
        return None
    wanted = item["margin"] if kind == "improvement" else -item["margin"]
    return float(wanted if item["higher_is_better"] else -wanted)


def _row(item: Mapping[str, Any], scale: Scale, threshold: float | None, say: PageWords) -> VerdictRow:
    return VerdictRow(
        outcome=item["outcome"],
        variant=item["variant"],
        metric=say.metric(item["metric"]),
        category=item["category"],
        texts={
            "before": say.number(item["before"]),
            "after": say.number(item["after"]),
            "effect": say.number(item["effect"], signed=True),
            "interval": _interval(item, say),
            "p": p_value(item, say),
            "p_raw": say.number(item["p_value"]),
            "n": say.count(item["n"]) + (f" × {item['epochs']}" if item["epochs"] > 1 else ""),
            "detectable": say.number(item["detectable"]),
            "needed": _needed(item, say),
        },
        moved=item["moved"],
        effect=scale.at(item["effect"]),
        low=None if item["low"] is None else scale.at(item["low"]),
        high=None if item["high"] is None else scale.at(item["high"]),
        margin=None if threshold is None else scale.at(threshold),
        method=item["method"],
    )


def _interval(item: Mapping[str, Any], say: PageWords) -> str:
    if item["low"] is None or item["high"] is None:
        return say("no_interval")
    return say("interval", low=say.number(item["low"], signed=True), high=say.number(item["high"], signed=True))


def _needed(item: Mapping[str, Any], say: PageWords) -> str:
    ways = [
        say(key, count=say.count(item[field]))
        for field, key in (("needed_cases", "needed_cases"), ("needed_epochs", "needed_epochs"))
        if item[field] is not None
    ]
    return say("or").join(ways) or UNSCORED
