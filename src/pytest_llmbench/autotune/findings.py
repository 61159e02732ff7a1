"""What a search came to, as one plain document: the value, how sure it is, and every trial it rests on."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.autotune import served_rate
from pytest_llmbench.autotune.capacity_gate import SURE
from pytest_llmbench.autotune.document import (
    Behaviour,
    CutOff,
    Finding,
    Promise,
    ShareAtLevel,
    TrialContradiction,
    TrialEntry,
)
from pytest_llmbench.autotune.finding_notes import finding_notes
from pytest_llmbench.core.locale import words
from pytest_llmbench.runs.typed import read_as

if TYPE_CHECKING:
    from pytest_llmbench.autotune.questions import Question
    from pytest_llmbench.load.records import SLO
    from pytest_llmbench.load.search import Found
    from pytest_llmbench.stats.capacity import Capacity

_SURE = 0.0005  # chances up to this are left out


def finding(
    question: Question,
    found: Found,
    slo: SLO,
    *,
    required: int | None,
    resumed: int,
    tested_at: str | None = None,
    spent: int = 0,
) -> Finding:
    """The document of a search.

    `required` is the least step that is asked for, `resumed` the trials of before, `tested_at` when the last trial was
    over, `spent` requests besides its trials.
    """
    capacity, trials = found.capacity, [read_as(TrialEntry, trial.detail) for trial in found.kept]
    too_short_s = None
    if question.name == "rate":
        capacity, too_short_s = served_rate.believable(capacity, question, trials, slo)
    chances: defaultdict[float, float] = defaultdict(float)
    for step, chance in enumerate(capacity.chances):
        chances[question.level(step)] += chance
    value, cut = question.level(capacity.users), cut_offs(trials) if question.name == "max_tokens" else None
    made = Finding(
        question=question.name,
        unit=question.unit,
        value=value,
        low=question.level(capacity.low),
        high=_high(capacity, question, found, trials, slo),
        held=capacity.users > 0,
        decided=found.decided and too_short_s is None,
        ended_by=found.ended_by,
        highest=question.highest,
        highest_tried=question.level(found.tried),
        capped=capacity.more,
        unbounded=capacity.unbounded,
        wanted_share=question.plan.share,
        lapse=round(capacity.lapse, 4),
        chances={f"{level:g}": round(chance, 4) for level, chance in chances.items() if chance > _SURE},
        curve=tuple(_curve(question, capacity)),
        chance_required=None if required is None else _chance_of(required, found),
        slo=Promise(**dataclasses.asdict(slo)),
        users_held=question.held,
        habits=Behaviour(**dataclasses.asdict(question.habits)),
        cut_off=cut,
        cut_off_at_value=_nearest(cut or (), value),
        trials=tuple(trials),
        contradiction=_contradiction(question, found),
        any_fall=not capacity.by_shape,
        sent=found.sent + spent,
        duration_s=round(max((one.started_s + one.duration_s for one in trials), default=0.0), 3),
        resumed_trials=resumed,
        tested_at=tested_at,
        too_short_s=too_short_s,
        notes=(),
    )
    return made.model_copy(update={"notes": tuple(finding_notes(made, words("en")))})


def _curve(question: Question, capacity: Capacity) -> Iterator[ShareAtLevel]:
    for point in capacity.curve:
        ends = {name: round(getattr(point, name), 4) for name in ("share", "low", "high")}
        yield ShareAtLevel(level=question.level(point.level), **ends)


def _contradiction(question: Question, found: Found) -> TrialContradiction | None:
    seen = found.contradiction
    if seen is None:
        return None
    return TrialContradiction(
        level=question.level(seen.worse.level),
        good=seen.worse.good,
        total=seen.worse.total,
        others_up_to=question.level(seen.level),
        others_good=seen.good,
        others_total=seen.total,
    )


def _high(capacity: Capacity, question: Question, found: Found, trials: Sequence[TrialEntry], slo: SLO) -> float:
    """The upper end. Of rates it is what the server can do: they lie between the steps too.

    Where that was not seen it is the step above the search's own, whose trials say nothing of what lies in between.
    """
    if question.name != "rate" or not capacity.high:
        return question.level(capacity.high)
    able = served_rate.most_of_all([trial for trial in trials if trial.counts], slo)
    if able is None:
        return question.level(min(found.tried, max(found.capacity.high, capacity.high) + 1))
    return min(question.level(found.tried), max(able, question.level(capacity.users)))


def _chance_of(required: int, found: Found) -> float | None:
    """The probability that so many are held; None where nobody tried so many and those who were tried may be held."""
    chance = found.capacity.chance_of(min(required, found.tried))
    return round(chance, 4) if required <= found.tried or chance <= 1 - SURE else None


def cut_offs(trials: Sequence[TrialEntry]) -> tuple[CutOff, ...]:
    """The share cut off at each level that was tried, over all its valid trials."""
    answers, cut = Counter[float](), Counter[float]()
    for trial in trials:
        if trial.counts and trial.cut_off is not None:
            answers[trial.level] += trial.answered
            cut[trial.level] += round(trial.cut_off * trial.answered)
    return tuple(
        CutOff(level=level, share=round(cut[level] / count, 4), answers=count)
        for level, count in sorted(answers.items())
        if count
    )


def _nearest(cut: Sequence[CutOff], value: float) -> float | None:
    """The share cut off at the tried level that is nearest to the value."""
    return min(cut, key=lambda one: abs(one.level - value)).share if cut else None
