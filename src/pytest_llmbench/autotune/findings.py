"""What a search came to, as one plain document: the value, how sure it is, and every trial it rests on."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

from pytest_llmbench.autotune import served_rate
from pytest_llmbench.autotune.capacity_gate import SURE
from pytest_llmbench.autotune.finding_notes import finding_notes
from pytest_llmbench.autotune.trial_summary import TrialEntry
from pytest_llmbench.core.locale import words

if TYPE_CHECKING:
    from pytest_llmbench.autotune.questions import Name, Question, Unit
    from pytest_llmbench.load.records import SLO
    from pytest_llmbench.load.search import Found
    from pytest_llmbench.stats.capacity import Capacity

_SURE = 0.0005  # chances up to this are left out


class CurveEntry(TypedDict):
    """The share of good answers at a level, with its 95 % band."""

    level: float
    share: float
    low: float
    high: float


class CutOff(TypedDict):
    """The share of answers at a level that the token limit ended."""

    level: float
    share: float
    answers: int


class ContradictionDocument(TypedDict):
    """A trial that had it clearly worse than the others from its level up to another one."""

    level: float
    good: int
    total: int
    others_up_to: float
    others_good: int
    others_total: int


class Finding(TypedDict):
    """The answer to one question about a server.

    `value` is the highest level that keeps the promise, `low` to `high` its 95 % interval. None of them, nor any other
    number here but `highest`, which may be tried, is above `highest_tried`, which was: `capped` tells that `value`
    stands for "that or more", `unbounded` that `high` does. `held` is False where not even the lowest level keeps the
    promise; `value` is 0 then. `chances` are of each level to be the one, 0 standing for none too, the highest tried
    for all above. `chance_required` is None where trials are promising, and none was that high.
    `cut_off` and `cut_off_at_value` belong to `max_tokens` alone. `too_short_s` is how long trials of a rate lasted,
    where that is too short to see a slow queue. `notes` are in English.
    """

    question: Name
    unit: Unit
    value: float
    low: float
    high: float
    held: bool
    decided: bool
    highest: float
    highest_tried: float
    capped: bool
    unbounded: bool
    wanted_share: float
    lapse: float
    chances: dict[str, float]
    curve: list[CurveEntry]
    chance_required: float | None
    slo: dict[str, Any]
    users_held: int | None
    habits: dict[str, Any]
    cut_off: list[CutOff] | None
    cut_off_at_value: float | None
    trials: list[TrialEntry]
    contradiction: ContradictionDocument | None
    any_fall: bool
    sent: int
    duration_s: float
    resumed_trials: int
    too_short_s: float | None
    notes: list[str]


def finding(
    question: Question, found: Found, slo: SLO, *, required: int | None, resumed: int, spent: int = 0
) -> Finding:
    """The document of a search.

    `required` is the least step that is asked for, `resumed` the trials of before, `spent` requests besides its trials.
    """
    capacity, trials = found.capacity, [cast("TrialEntry", dict(trial.detail)) for trial in found.kept]
    too_short_s = None
    if question.name == "rate":
        capacity, too_short_s = served_rate.believable(capacity, question, trials, slo)
    chances: defaultdict[float, float] = defaultdict(float)
    for step, chance in enumerate(capacity.chances):
        chances[question.level(step)] += chance
    made: Finding = {
        "question": question.name,
        "unit": question.unit,
        "value": question.level(capacity.users),
        "low": question.level(capacity.low),
        "high": _high(capacity, question, found, trials, slo),
        "held": capacity.users > 0,
        "decided": found.decided and too_short_s is None,
        "highest": question.highest,
        "highest_tried": question.level(found.tried),
        "capped": capacity.more,
        "unbounded": capacity.unbounded,
        "wanted_share": question.plan.share,
        "lapse": round(capacity.lapse, 4),
        "chances": {f"{level:g}": round(chance, 4) for level, chance in chances.items() if chance > _SURE},
        "curve": [
            {
                "level": question.level(point.level),
                "share": round(point.share, 4),
                "low": round(point.low, 4),
                "high": round(point.high, 4),
            }
            for point in capacity.curve
        ],
        "chance_required": None if required is None else _chance_of(required, found),
        "slo": dataclasses.asdict(slo),
        "users_held": question.held,
        "habits": dataclasses.asdict(question.habits),
        "cut_off": cut_offs(trials) if question.name == "max_tokens" else None,
        "cut_off_at_value": None,
        "trials": trials,
        "contradiction": _contradiction(question, found),
        "any_fall": not capacity.by_shape,
        "sent": found.sent + spent,
        "duration_s": round(max((one["started_s"] + one["duration_s"] for one in trials), default=0.0), 3),
        "resumed_trials": resumed,
        "too_short_s": too_short_s,
        "notes": [],
    }
    made["cut_off_at_value"] = _nearest(made["cut_off"] or (), made["value"])
    made["notes"] = list(finding_notes(made, words("en")))
    return made


def _contradiction(question: Question, found: Found) -> ContradictionDocument | None:
    seen = found.contradiction
    if seen is None:
        return None
    return {
        "level": question.level(seen.worse.level),
        "good": seen.worse.good,
        "total": seen.worse.total,
        "others_up_to": question.level(seen.level),
        "others_good": seen.good,
        "others_total": seen.total,
    }


def _high(capacity: Capacity, question: Question, found: Found, trials: Sequence[TrialEntry], slo: SLO) -> float:
    """The upper end. Of rates it is what the server can do: they lie between the steps too.

    Where that was not seen it is the step above the search's own, whose trials say nothing of what lies in between.
    """
    if question.name != "rate" or not capacity.high:
        return question.level(capacity.high)
    able = served_rate.most_of_all([trial for trial in trials if trial["verdict"] != "invalid"], slo)
    if able is None:
        return question.level(min(found.tried, max(found.capacity.high, capacity.high) + 1))
    return min(question.level(found.tried), max(able, question.level(capacity.users)))


def _chance_of(required: int, found: Found) -> float | None:
    """The probability that so many are held; None where nobody tried so many and those who were tried may be held."""
    chance = found.capacity.chance_of(min(required, found.tried))
    return round(chance, 4) if required <= found.tried or chance <= 1 - SURE else None


def cut_offs(trials: Sequence[TrialEntry]) -> list[CutOff]:
    """The share cut off at each level that was tried, over all its valid trials."""
    answers, cut = Counter[float](), Counter[float]()
    for trial in trials:
        if trial["verdict"] != "invalid" and trial["cut_off"] is not None:
            known = trial["total"] - sum(trial["errors"].values())  # all that older journals tell
            completed = trial.get("completed", known)
            answers[trial["level"]] += completed
            cut[trial["level"]] += round(trial["cut_off"] * completed)
    return [
        {"level": level, "share": round(cut[level] / count, 4), "answers": count}
        for level, count in sorted(answers.items())
        if count
    ]


def _nearest(cut: Sequence[CutOff], value: float) -> float | None:
    """The share cut off at the tried level that is nearest to the value."""
    return min(cut, key=lambda one: abs(one["level"] - value))["share"] if cut else None
