"""The gate: one run held against a baseline, or each fine-tune against its base, case by case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llmbench.comparability import differences_between, unscored
from pytest_llmbench.fresh_answers import judged_on_fresh_answers
from pytest_llmbench.paired_scores import CaseGrid, PairedScores, change
from pytest_llmbench.records import BASE
from pytest_llmbench.reports.baseline import Comparable, comparable
from pytest_llmbench.stats import CONFIDENCE, Hypothesis, Kind, Outcome, Verdict, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.settings import GateSettings

DEFAULT_METRICS = ("relevance", "keywords", "tool_accuracy")

_OVERALL_WEIGHT = 9.0  # against 1 for all categories of a metric together: those have few cases each
_MOVED = 5
_LEAST_P = 0.001

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
) -> dict[str, Any]:
    """The gate object of `run` held against `baseline`: each fine-tune against its namesake there.

    Where the baseline has one fine-tune only, each of the run's is held against that, whatever they are called; a run
    without any is held base against base. `margins` maps a metric to its margin, 0 where it is silent. A gate that
    passes only on a server's remembered answers is inconclusive, here and in `compare_with_base`.

    Raises:
        UsageError: a score is beyond any that a metric gives.
    """
    commit = (baseline.metadata.get("git") or {}).get("commit")
    timestamp = baseline.metadata.get("timestamp")
    about = {"name": baseline.name, "path": baseline.path, "commit": commit, "timestamp": timestamp}
    pairs, notes = _namesakes(baseline, run)
    notes += differences_between(baseline, run)

    def judged(run: Comparable) -> dict[str, Any]:
        measured = _measured(baseline, run, pairs, metrics or DEFAULT_METRICS, margins)
        questions = _questions(measured, categories=categories)
        return _gate(questions, kind, alpha, about, [*notes, *_unscored(measured)])

    return judged_on_fresh_answers(judged, run)


def compare_with_base(
    run: Comparable,
    *,
    kind: Kind,
    alpha: float = 0.05,
    margins: Mapping[str, float] = {},
    metrics: Sequence[str] | None = None,
    categories: bool = True,
) -> dict[str, Any]:
    """The gate object of each fine-tune of `run` held against the base's answers in the same run.

    Raises:
        UsageError: a score is beyond any that a metric gives.
    """
    variants = run.metadata["variants"]
    pairs = [(BASE, variant) for variant in variants if variant != BASE and BASE in variants]

    def judged(run: Comparable) -> dict[str, Any]:
        measured = _measured(run, run, pairs, metrics or DEFAULT_METRICS, margins)
        return _gate(_questions(measured, categories=categories), kind, alpha, None, _unscored(measured))

    return judged_on_fresh_answers(judged, run)


def gate_of(
    document: Mapping[str, Any], name: str, settings: GateSettings, baseline: Comparable | None
) -> dict[str, Any]:
    """The gate object that the settings ask for, of a run document called `name`.

    `baseline` is the run that `settings.baseline` means, None where it is missing and that may be.
    """
    kind: Kind = "compare" if settings.kind == "off" else settings.kind
    run = comparable(document, name)
    if settings.baseline is not None and baseline is None:
        message = f"there is no baseline {settings.baseline!r} yet: nothing was compared"
        nothing = _gate([], kind, settings.alpha, None, [_note("no_baseline", message)])
        return {**nothing, "failed": False, "reason": message}
    asked: dict[str, Any] = {
        "kind": kind,
        "alpha": settings.alpha,
        "margins": {metric: settings.margins.get(metric, settings.margin) for metric in settings.metrics},
        "metrics": settings.metrics,
        "categories": settings.categories,
    }
    gate = compare_runs(baseline, run, **asked) if baseline else compare_with_base(run, **asked)
    if kind != "compare" and gate["outcome"] == Outcome.INCONCLUSIVE:
        strict = settings.inconclusive == "fail" or (settings.inconclusive == "auto" and kind == "improvement")
        gate["failed"] |= strict
    return gate


@dataclass(frozen=True, slots=True)
class _Measured:
    """One metric of one variant, over all cases that both runs have. `categories` has one name a case.

    `is_known` says whether the metric judged any answer, if only to leave it unscored.
    """

    variant: str
    metric: str
    higher_is_better: bool
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
        return self.scores.hypothesis(self.of.sign, self.of.margin, self.weight)

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


def _namesakes(baseline: Comparable, run: Comparable) -> tuple[list[_Pair], list[dict[str, Any]]]:
    """Which variant of the run is held against which of the baseline, and notes on those that have no counterpart."""
    earlier, later = ([name for name in side.metadata["variants"] if name != BASE] for side in (baseline, run))
    if not later or not earlier:
        both = BASE in baseline.metadata["variants"] and BASE in run.metadata["variants"]
        notes = []
        if later or earlier:
            side = "this run has no fine-tune" if earlier else "the baseline has no fine-tune"
            notes = [_note("changed_model", f"{side}: the bases were compared")]
        return [(BASE, BASE)] if both else [], notes
    if len(earlier) == 1:
        return [(earlier[0], name) for name in later], []
    notes = [
        _note(kind, f"{name} is not in the {side}, and was not compared")
        for kind, names, others, side in (
            ("missing_in_baseline", later, earlier, "baseline"),
            ("missing_in_run", earlier, later, "run"),
        )
        for name in names
        if name not in others
    ]
    return [(name, name) for name in later if name in earlier], notes


def _note(kind: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "message": message, "cases": []}


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
    for metric in dict.fromkeys(one.metric for one in measured if not one.is_known):
        yield _note("unscored", f"{metric} was not measured, and not compared: it is off, or has another name")
    for one in measured:
        yield from unscored(one.metric, one.variant, one.scores)


def _gate(
    asked: Iterable[_Question],
    kind: Kind,
    alpha: float,
    baseline: Mapping[str, Any] | None,
    notes: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    questions = list(asked)
    judged = judge([question.hypothesis() for question in questions], kind, alpha)
    verdicts = [_described(question, verdict) for question, verdict in zip(questions, judged, strict=True)]
    verdicts.sort(key=lambda verdict: verdict["category"] is not None)
    outcome = _outcome(verdicts, kind)
    return {
        "kind": kind,
        "against": "baseline" if baseline else "base",
        "baseline": baseline,
        "alpha": alpha,
        "confidence": CONFIDENCE,
        "outcome": outcome.value,
        "failed": kind != "compare" and (outcome is Outcome.FAIL or not verdicts),  # comparing nothing guards nothing
        "reason": _reason(verdicts, outcome, kind),
        "verdicts": verdicts,
        "notes": list(notes),
    }


def _outcome(verdicts: Sequence[Mapping[str, Any]], kind: Kind) -> Outcome:
    """Any fail fails. Else overall verdicts decide: all must pass in a regression gate, one a variant in others."""
    if any(verdict["outcome"] == Outcome.FAIL for verdict in verdicts):
        return Outcome.FAIL
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


def _reason(verdicts: Sequence[Mapping[str, Any]], outcome: Outcome, kind: Kind) -> str:
    """One sentence: what decided, or why nothing could."""
    if not verdicts:
        return "nothing could be compared: no metric of the gate is scored on both sides"
    deciding = [verdict for verdict in verdicts if verdict["outcome"] == outcome]
    first = min(deciding or verdicts, key=lambda verdict: (verdict["category"] is not None, verdict["p_adjusted"]))
    fell = "" if kind == "regression" and outcome is Outcome.PASS else f"p {_p_value(first)}, "
    told = (
        f"{first['metric']} of {first['variant']}{_within(first)} went from {first['before']:.3f} to "
        f"{first['after']:.3f} ({_interval(first)}{fell}{first['n']} cases)"
    )
    if outcome is Outcome.FAIL:
        others = f", and {len(deciding) - 1} more got worse" if len(deciding) > 1 else ""
        return f"{told}{others}"
    if outcome is Outcome.PASS:
        if not any(verdict["changed"] for verdict in verdicts):
            return f"no score changed in any case{_left_open(first)}"
        claim = "nothing got worse by more than its margin" if kind == "regression" else "better, and nothing worse"
        return f"{claim}: {told}"
    lack = {
        "regression": "neither a regression nor its absence",
        "improvement": "no improvement",
        "compare": "no change",
    }
    left = _left_open(first) if first["margin"] else ""
    return f"{lack[kind]} could be shown from these cases: {told}{left}"


def _left_open(verdict: Mapping[str, Any]) -> str:
    """Which fall so many cases do not rule out; of a score from 0 to 1, where nothing changed, how many may lose it."""
    fall = verdict["not_ruled_out"]
    if fall is None:
        return ""
    if not verdict["changed"] and 0 <= verdict["before"] <= 1:
        return f"; with {verdict['units']} cases, a loss in up to {fall:.1%} of such is not ruled out"
    direction = "fall" if verdict["higher_is_better"] else "rise"
    return f"; a {direction} by up to {fall:.3g} is not ruled out"


def _p_value(verdict: Mapping[str, Any]) -> str:
    p_value: float = verdict["p_adjusted"]
    return "< 0.001" if p_value < _LEAST_P else f"= {p_value:.3f}"


def _within(verdict: Mapping[str, Any]) -> str:
    return f" in {verdict['category']}" if verdict["category"] else ""


def _interval(verdict: Mapping[str, Any]) -> str:
    if verdict["low"] is None:
        return ""
    return f"95% interval of the change {verdict['low']:+.3f} to {verdict['high']:+.3f}, "
