"""The gate: one run held against a baseline, or each fine-tune against its base, case by case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pytest_llmbench.core.locale import words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.runs.baseline import Comparable, comparable
from pytest_llmbench.runs.comparability import differences_between, unscored_alike
from pytest_llmbench.runs.comparison import SPEED_METRICS
from pytest_llmbench.runs.fresh_answers import judged_on_fresh_answers
from pytest_llmbench.runs.gate_notes import gate_note
from pytest_llmbench.runs.gate_reasons import (
    BATCHED,
    LIMITED,
    NO_COUNTERPART,
    NO_SHARED_CASE,
    NOTED_UNJUDGED,
    NOTHING_SCORED,
    UNJUDGED,
    because,
    reason_of,
)
from pytest_llmbench.runs.lost_answers import counted_as_worst, in_doubt
from pytest_llmbench.runs.paired_scores import CaseGrid, PairedScores, change
from pytest_llmbench.runs.typed import Because, gate_document
from pytest_llmbench.stats import CONFIDENCE, Hypothesis, Kind, Outcome, Verdict, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.core.settings import GateSettings

DEFAULT_METRICS = ("relevance", "keywords", "tool_accuracy", "call_accuracy")
_WHERE_ASKED = {"call_accuracy"}
"""Metrics that exist only where cases ask for them: by default, nobody misses them elsewhere."""

_OVERALL_WEIGHT = 9.0  # against 1 for all categories of a metric together: those have few cases each
_MOVED = 5
_SAY = words("en")

_Pair = tuple[str, str]
"""The variants whose answers are held against each other, before and after."""


def compare_runs(
    baseline: Comparable,
    run: Comparable,
    *,
    kind: Kind,
    alpha: float = 0.05,
    margins: Mapping[str, float] = {},
    metrics: Sequence[str] | None = None,
    categories: bool = True,
    unscored: Literal["worst", "drop"] = "worst",
) -> dict[str, Any]:
    """The gate object of `run` held against `baseline`: each fine-tune against its namesake there.

    Where the baseline has one fine-tune only, each of the run's is held against that, whatever they are called; a run
    without any is held base against base. `margins` maps a metric to its margin, 0 where it is silent. An answer that
    one side lost counts as the worst score there, or, with `unscored` drop, its case is left out. A gate that passes
    only on a server's remembered answers is inconclusive, here and in `compare_with_base`.

    Raises:
        UsageError: a score is beyond any that a metric gives.
    """
    commit = (baseline.metadata.get("git") or {}).get("commit")
    timestamp = baseline.metadata.get("timestamp")
    about = {"name": baseline.name, "path": baseline.path, "commit": commit, "timestamp": timestamp}
    pairs, notes = _namesakes(baseline, run)
    names, batched = _timed_alone(metrics or DEFAULT_METRICS, pairs, baseline, run)
    notes += [*differences_between(baseline, run), *batched]

    def judged(run: Comparable) -> dict[str, Any]:
        sides, lost = _whole((baseline, run), pairs, names, unscored)
        measured = _measured(*sides, pairs, names, margins)
        questions = [*_questions(measured, categories=categories)]
        told = [*notes, *lost, *_unscored(measured)]
        nothing = (NOTHING_SCORED if questions else _not_shared(pairs, *sides)) if names else BATCHED
        return _gate(questions, kind, alpha, about, told, nothing, [after for _, after in pairs])

    return judged_on_fresh_answers(judged, run)


def compare_with_base(
    run: Comparable,
    *,
    kind: Kind,
    alpha: float = 0.05,
    margins: Mapping[str, float] = {},
    metrics: Sequence[str] | None = None,
    categories: bool = True,
    unscored: Literal["worst", "drop"] = "worst",
) -> dict[str, Any]:
    """The gate object of each fine-tune of `run` held against the base's answers in the same run.

    Raises:
        UsageError: a score is beyond any that a metric gives.
    """
    variants = run.metadata["variants"]
    pairs = [(BASE, variant) for variant in variants if variant != BASE and BASE in variants]
    names, batched = _timed_alone(metrics or DEFAULT_METRICS, pairs, run, run)
    nothing = NOTHING_SCORED if names else BATCHED

    def judged(run: Comparable) -> dict[str, Any]:
        sides, lost = _whole((run, run), pairs, names, unscored)
        measured = _measured(*sides, pairs, names, margins)
        questions, told = _questions(measured, categories=categories), [*batched, *lost, *_unscored(measured)]
        return _gate(questions, kind, alpha, None, told, nothing, [after for _, after in pairs])

    return judged_on_fresh_answers(judged, run)


def gate_of(
    document: Mapping[str, Any], name: str, settings: GateSettings, baseline: Comparable | None
) -> dict[str, Any]:
    """The gate object that the settings ask for, of a run document called `name`.

    `baseline` is the run that `settings.baseline` means, None where it is missing and that may be.
    """
    if settings.baseline is not None and baseline is None:
        kind = _kind(settings)
        note = gate_note("no_baseline", "noted_no_baseline", name=settings.baseline)
        why = {"kind": "no_baseline", "verdict": None, "others": 0}
        compared = _gate([], kind, settings.alpha, None, [note])
        nothing = {**compared, "against": "baseline", "failed": False, "because": why}
        return {**nothing, "reason": reason_of(gate_document(nothing), _SAY, str)}
    return settled_gate(comparable(document, name), settings, baseline)


def settled_gate(run: Comparable, settings: GateSettings, baseline: Comparable | None) -> dict[str, Any]:
    """The gate object of `run` held against the baseline, or its own base if there is none; as strict as was set.

    A run that was limited to the first cases passes no gate.
    """
    kind = _kind(settings)
    asked: dict[str, Any] = {
        "kind": kind,
        "alpha": settings.alpha,
        "margins": settings.margins_of(settings.metrics),
        "metrics": settings.metrics,
        "categories": settings.categories,
        "unscored": settings.unscored,
    }
    gate = compare_runs(baseline, run, **asked) if baseline else compare_with_base(run, **asked)
    if run.limited and gate["outcome"] == Outcome.PASS:
        gate = _of_a_part(gate)
    if kind != "compare" and gate["outcome"] == Outcome.INCONCLUSIVE:
        strict = settings.inconclusive == "fail" or (settings.inconclusive == "auto" and kind == "improvement")
        gate["failed"] |= strict
    return gate


def _of_a_part(gate: Mapping[str, Any]) -> dict[str, Any]:
    """The gate that passes on the first cases alone, as inconclusive; what fails on them, fails."""
    why = {"kind": LIMITED, "verdict": gate["because"]["verdict"], "others": 0}
    made = {**gate, "outcome": Outcome.INCONCLUSIVE.value, "because": why}
    return {**made, "reason": reason_of(gate_document(made), _SAY, str)}


def _kind(settings: GateSettings) -> Kind:
    return "compare" if settings.kind == "off" else settings.kind


@dataclass(frozen=True, slots=True)
class _Measured:
    """One metric of one variant, over all cases that both runs have. `categories` has one name a case.

    `is_known` says whether the metric judged any answer, if only to leave it unscored.
    """

    variant: str
    metric: str
    higher_is_better: bool
    unit: str | None
    margin: float
    categories: NDArray[np.object_]
    scores: PairedScores
    is_known: bool

    @property
    def sign(self) -> float:
        """What makes a change for the better positive."""
        return 1.0 if self.higher_is_better else -1.0


@dataclass(frozen=True, slots=True)
class _Question:
    """One metric of one variant, over the scored cases, or those of one category."""

    of: _Measured
    category: str | None
    weight: float
    scores: PairedScores

    def hypothesis(self) -> Hypothesis:
        return self.scores.hypothesis(self.of.sign, self.of.margin, self.weight, self.of.unit)

    def is_in_doubt(self, asked: Hypothesis, verdict: Verdict, kind: Kind) -> bool:
        """Whether it is a category that may be lost."""
        if self.category is None:
            return False
        before, after = self.scores.means()
        return in_doubt(self.of.sign * change(before, after), asked, verdict, kind)

    def moved(self) -> list[dict[str, Any]]:
        """The cases that lost most, worst first."""
        before, after = self.scores.means()
        gains = self.of.sign * change(before, after)
        worst = np.argsort(gains, kind="stable")[:_MOVED]
        return [
            {"case": self.scores.cases[line], "before": float(before[line]), "after": float(after[line])}
            for line in worst
            if gains[line] < 0
        ]


def namesakes(before: Sequence[str], after: Sequence[str]) -> list[_Pair]:
    """Which variant of a run is held against which of the baseline; bases only where a side has no fine-tune."""
    earlier, later = ([name for name in side if name != BASE] for side in (before, after))
    if not later or not earlier:
        return [(BASE, BASE)] if BASE in before and BASE in after else []
    if len(earlier) == 1:
        return [(earlier[0], name) for name in later]
    return [(name, name) for name in later if name in earlier]


def _namesakes(baseline: Comparable, run: Comparable) -> tuple[list[_Pair], list[dict[str, Any]]]:
    """Which variant of the run is held against which of the baseline, and notes on those that have no counterpart."""
    pairs = namesakes(baseline.metadata["variants"], run.metadata["variants"])
    earlier, later = ([name for name in side.metadata["variants"] if name != BASE] for side in (baseline, run))
    if not later or not earlier:
        notes = []
        if later or earlier:
            notes = [gate_note("changed_model", f"noted_no_fine_tune_in_{'run' if earlier else 'baseline'}")]
        return pairs, notes
    if len(earlier) == 1:
        return pairs, []
    notes = [
        gate_note(kind, f"noted_variant_{kind}", variant=name)
        for kind, names, others in (("missing_in_baseline", later, earlier), ("missing_in_run", earlier, later))
        for name in names
        if name not in others
    ]
    return pairs, notes


def _timed_alone(
    metrics: Sequence[str], pairs: Sequence[_Pair], before: Comparable, after: Comparable
) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """The metrics, without those of speed where the answers of a pair shared batches, and notes on these."""
    batch = max(before.largest_batch(old for old, _ in pairs), after.largest_batch(new for _, new in pairs))
    if batch == 1:
        return metrics, []
    gone = [name for name in metrics if name in SPEED_METRICS]
    notes = [gate_note("unscored", "noted_batched", metric=name, batch=batch) for name in gone]
    return tuple(name for name in metrics if name not in gone), notes


def _whole(
    sides: tuple[Comparable, Comparable], pairs: Sequence[_Pair], metrics: Sequence[str], unscored: str
) -> tuple[tuple[Comparable, Comparable], list[dict[str, Any]]]:
    return counted_as_worst(sides, pairs, metrics) if unscored == "worst" else (sides, [])


def _not_shared(pairs: Sequence[_Pair], before: Comparable, after: Comparable) -> str:
    """Why two runs could not be compared in anything."""
    if not pairs:
        return NO_COUNTERPART
    cases = {row["case"] for row in before.rows}
    return NO_SHARED_CASE if cases.isdisjoint(row["case"] for row in after.rows) else NOTHING_SCORED


def _measured(
    before: Comparable, after: Comparable, pairs: Sequence[_Pair], metrics: Sequence[str], margins: Mapping[str, float]
) -> list[_Measured]:
    described, grid = after.metadata.get("metrics") or {}, CaseGrid(before, after)
    wanted = [(variant, metric) for _, variant in pairs for metric in metrics]
    return [
        _Measured(
            variant,
            metric,
            described.get(metric, {}).get("higher_is_better", True),
            described.get(metric, {}).get("unit"),
            margins.get(metric, 0.0),
            grid.categories,
            scores,
            grid.knows(metric),
        )
        for (variant, metric), scores in zip(wanted, grid.scores(pairs, metrics), strict=True)
    ]


def _questions(measured: Sequence[_Measured], *, categories: bool) -> Iterator[_Question]:
    """Every metric of every variant overall, then by category where there are several."""
    for one in measured:
        shared = one.scores.on_both_sides()
        if not shared.any():
            continue
        yield _Question(one, None, _OVERALL_WEIGHT, one.scores.where(shared))
        names = list(dict.fromkeys(one.categories[shared]))
        if categories and len(names) > 1:  # the only category is the whole
            for name in names:
                yield _Question(one, name, 1 / len(names), one.scores.where(shared & (one.categories == name)))


def _unscored(measured: Sequence[_Measured]) -> Iterator[dict[str, Any]]:
    """Notes on what is not compared since one side, or neither, has scores of it."""
    asked = tuple(dict.fromkeys(one.metric for one in measured))
    expected = {*asked} - (_WHERE_ASKED if asked == DEFAULT_METRICS else set())
    for metric in dict.fromkeys(one.metric for one in measured if not one.is_known and one.metric in expected):
        yield gate_note("unscored", "noted_unmeasured", metric=metric)
    for one in measured:
        yield from unscored_alike(one.metric, one.variant, one.scores)


def _gate(
    asked_of: Iterable[_Question],
    kind: Kind,
    alpha: float,
    baseline: Mapping[str, Any] | None,
    notes: Iterable[Mapping[str, Any]],
    nothing: str = NOTHING_SCORED,
    variants: Sequence[str] = (),
) -> dict[str, Any]:
    """`nothing` is the reason where there is no question. `variants` are all that were to be judged."""
    questions = list(asked_of)
    hypotheses = [question.hypothesis() for question in questions]
    judged = judge(hypotheses, kind, alpha)
    verdicts = [
        {**_described(question, verdict), "in_doubt": question.is_in_doubt(asked, verdict, kind)}
        for question, asked, verdict in zip(questions, hypotheses, judged, strict=True)
    ]
    verdicts.sort(key=lambda verdict: verdict["category"] is not None)
    outcome = _outcome(verdicts, kind)
    told = {verdict["variant"] for verdict in verdicts}
    unjudged = [variant for variant in variants if verdicts and variant not in told]
    passes_over = outcome is Outcome.PASS and bool(unjudged)
    if passes_over:
        outcome = Outcome.INCONCLUSIVE
    gate: dict[str, Any] = {
        "kind": kind,
        "against": "baseline" if baseline else "base",
        "baseline": baseline,
        "alpha": alpha,
        "confidence": CONFIDENCE,
        "outcome": outcome.value,
        "failed": kind != "compare" and (outcome is Outcome.FAIL or not verdicts),  # comparing nothing guards nothing
        "reason": "",
        "because": None,
        "verdicts": verdicts,
        "notes": [*notes, *(gate_note("unscored", NOTED_UNJUDGED, variant=variant) for variant in unjudged)],
    }
    made = gate_document(gate)
    if passes_over:
        why = Because(kind=UNJUDGED, verdict=None, others=0)
    else:
        why = because(made.verdicts, outcome.value, kind, nothing)
    reason = reason_of(made.model_copy(update={"because": why}), _SAY, str)
    return {**gate, "reason": reason, "because": why.json_ready()}


def _outcome(verdicts: Sequence[Mapping[str, Any]], kind: Kind) -> Outcome:
    """Any fail fails. Else overall verdicts decide: all must pass in a regression gate, one a variant in others.

    None passes over a category that is in doubt.
    """
    if any(verdict["outcome"] == Outcome.FAIL for verdict in verdicts):
        return Outcome.FAIL
    if any(verdict["in_doubt"] for verdict in verdicts):
        return Outcome.INCONCLUSIVE
    passed: dict[str, list[bool]] = {}
    for verdict in verdicts:
        if verdict["category"] is None:
            passed.setdefault(verdict["variant"], []).append(verdict["outcome"] == Outcome.PASS)
    enough = all if kind == "regression" else any
    return Outcome.PASS if passed and all(map(enough, passed.values())) else Outcome.INCONCLUSIVE


def _described(question: _Question, verdict: Verdict) -> dict[str, Any]:
    of, sign = question.of, question.of.sign
    low, high = verdict.low, verdict.high
    if low is not None and high is not None:
        low, high = sorted((sign * low, sign * high))
    return {
        "variant": of.variant,
        "metric": of.metric,
        "category": question.category,
        "outcome": verdict.outcome.value,
        "effect": sign * verdict.effect,
        "low": low,
        "high": high,
        "p_value": verdict.p_value,
        "p_adjusted": verdict.p_adjusted,
        "margin": of.margin,
        "higher_is_better": of.higher_is_better,
        "before": sign * verdict.before,
        "after": sign * verdict.after,
        "n": verdict.n,
        "units": verdict.units,
        "changed": verdict.changed,
        "epochs": int(verdict.epochs) if verdict.epochs.is_integer() else round(verdict.epochs, 2),
        "not_ruled_out": verdict.not_ruled_out,
        "detectable": verdict.detectable,
        "needed_cases": verdict.needed_cases,
        "needed_cases_range": verdict.needed_cases_range and list(verdict.needed_cases_range),
        "needed_epochs": verdict.needed_epochs,
        "method": verdict.method,
        "moved": question.moved(),
    }
