"""The gate: one run held against a baseline, or each fine-tune against its base, case by case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llmbench.comparability import differences_between, unscored
from pytest_llmbench.records import BASE
from pytest_llmbench.reports.averages import mean
from pytest_llmbench.reports.baseline import Comparable, comparable
from pytest_llmbench.stats import CONFIDENCE, Hypothesis, Kind, Outcome, Verdict, judge

if TYPE_CHECKING:
    from pytest_llmbench.settings import GateSettings

DEFAULT_METRICS = ("relevance", "keywords", "tool_accuracy")

_OVERALL_WEIGHT = 9.0  # against 1 for all categories of a metric together: those have few cases each
_MOVED = 5

Scores = Mapping[str, Mapping[int, float]]
"""Case -> epoch -> score; what is unscored is not there."""


@dataclass(frozen=True, slots=True)
class Matched:
    """One variant's answers before and after: who answered, and in which run."""

    variant: str
    before: tuple[Comparable, str]
    after: tuple[Comparable, str]


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

    A run with one fine-tune is held against a baseline with one, whatever they are called; a run without any, base
    against base. `margins` maps a metric to its margin, 0 where it is silent.
    """
    matched, notes = _namesakes(baseline, run)
    questions = list(_questions(matched, metrics or DEFAULT_METRICS, margins, categories=categories))
    commit = (baseline.metadata.get("git") or {}).get("commit")
    timestamp = baseline.metadata.get("timestamp")
    about = {"name": baseline.name, "path": baseline.path, "commit": commit, "timestamp": timestamp}
    return _gate(questions, kind, alpha, about, [*notes, *differences_between(baseline, run)])


def compare_with_base(
    run: Comparable,
    *,
    kind: Kind,
    alpha: float = 0.05,
    margins: Mapping[str, float] = {},
    metrics: Sequence[str] | None = None,
    categories: bool = True,
) -> dict[str, Any]:
    """The gate object of each fine-tune of `run` held against the base's answers in the same run."""
    variants = run.metadata["variants"]
    matched = [Matched(variant, (run, BASE), (run, variant)) for variant in variants if variant != BASE]
    if BASE not in variants:
        matched = []
    questions = list(_questions(matched, metrics or DEFAULT_METRICS, margins, categories=categories))
    return _gate(questions, kind, alpha, None, [])


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
        return {**_gate([], kind, settings.alpha, None, [_note("no_baseline", message)]), "reason": message}
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
        gate["failed"] = strict or not gate["verdicts"]  # a gate that compared nothing guards nothing
    return gate


@dataclass(frozen=True, slots=True)
class _Question:
    """One metric of one variant, over all cases or those of one category."""

    matched: Matched
    metric: str
    category: str | None
    higher_is_better: bool
    margin: float
    weight: float
    before: Scores
    after: Scores

    @property
    def cases(self) -> list[str]:
        """The cases that are scored on both sides."""
        return [case for case in self.after if case in self.before]

    def hypothesis(self) -> Hypothesis:
        """Epochs are paired where both sides have the same; else the means over the epochs are."""
        sign = 1.0 if self.higher_is_better else -1.0
        places, differences = [], []
        for place, case in enumerate(self.cases):
            before, after = self.before[case], self.after[case]
            if before.keys() == after.keys():
                pairs = [(before[epoch], after[epoch]) for epoch in after]
            else:
                pairs = [(_mean(before), _mean(after))]
            places += [place] * len(pairs)
            differences += [sign * (later - earlier) for earlier, later in pairs]
        # what differs by rounding alone, such as 0.1 + 0.2 and 0.3, has not changed
        return Hypothesis(np.round(np.array(differences), 12), np.array(places), self.margin, self.weight)

    def moved(self) -> list[dict[str, Any]]:
        """The cases that lost most, worst first."""
        sign = 1.0 if self.higher_is_better else -1.0
        scores = [(case, _mean(self.before[case]), _mean(self.after[case])) for case in self.cases]
        lost = sorted((sign * (after - before), case, before, after) for case, before, after in scores)
        return [
            {"case": case, "before": before, "after": after}
            for change, case, before, after in lost[:_MOVED]
            if change < 0
        ]


def _namesakes(baseline: Comparable, run: Comparable) -> tuple[list[Matched], list[dict[str, Any]]]:
    """Which variant of the run is held against which of the baseline, and notes on those that have no counterpart."""
    earlier, later = ([name for name in side.metadata["variants"] if name != BASE] for side in (baseline, run))
    if not later or not earlier:
        both = BASE in baseline.metadata["variants"] and BASE in run.metadata["variants"]
        notes = []
        if later or earlier:
            side = "this run has no fine-tune" if earlier else "the baseline has no fine-tune"
            notes = [_note("changed_model", f"{side}: the bases were compared")]
        return [Matched(BASE, (baseline, BASE), (run, BASE))] if both else [], notes
    if len(earlier) == len(later) == 1:
        return [Matched(later[0], (baseline, earlier[0]), (run, later[0]))], []
    notes = [
        _note(kind, f"{name} is not in the {side}, and was not compared")
        for kind, names, others, side in (
            ("missing_in_baseline", later, earlier, "baseline"),
            ("missing_in_run", earlier, later, "run"),
        )
        for name in names
        if name not in others
    ]
    return [Matched(name, (baseline, name), (run, name)) for name in later if name in earlier], notes


def _note(kind: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "message": message, "cases": []}


def _questions(
    matched: Sequence[Matched], metrics: Sequence[str], margins: Mapping[str, float], *, categories: bool
) -> Iterator[_Question]:
    """Every metric of every variant overall, then by category where there are several."""
    for one in matched:
        run = one.after[0]
        for metric in metrics:
            before, after = _scores(*one.before, metric), _scores(*one.after, metric)
            shared = before.keys() & after.keys()
            groups: dict[str | None, set[str]] = {None: shared}
            for row in run.rows:
                if row["case"] in shared:
                    groups.setdefault(row["category"], set()).add(row["case"])
            if not categories or len(groups) <= 2:  # noqa: PLR2004  # the only category is the whole
                groups = {None: shared}
            higher = (run.metadata.get("metrics") or {}).get(metric, {}).get("higher_is_better", True)
            for category, cases in groups.items():
                if cases:
                    weight = _OVERALL_WEIGHT if category is None else 1 / (len(groups) - 1)
                    sides = ({case: side[case] for case in side if case in cases} for side in (before, after))
                    yield _Question(one, metric, category, higher, margins.get(metric, 0.0), weight, *sides)


def _scores(run: Comparable, variant: str, metric: str) -> dict[str, dict[int, float]]:
    scores: dict[str, dict[int, float]] = {}
    for row in run.rows:
        score = row["scores"].get(metric, {}).get(variant)
        if score is not None:
            scores.setdefault(row["case"], {})[row["epoch"]] = score
    return scores


def _gate(
    questions: Sequence[_Question],
    kind: Kind,
    alpha: float,
    baseline: Mapping[str, Any] | None,
    notes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    judged = judge([question.hypothesis() for question in questions], kind, alpha)
    verdicts = [_described(question, verdict) for question, verdict in zip(questions, judged, strict=True)]
    verdicts.sort(key=lambda verdict: verdict["category"] is not None)
    outcome = _outcome(verdicts, kind)
    matched = {question.matched.variant: question.matched for question in questions}.values()
    metrics = list(dict.fromkeys(question.metric for question in questions))
    return {
        "kind": kind,
        "against": "baseline" if baseline else "base",
        "baseline": baseline,
        "alpha": alpha,
        "confidence": CONFIDENCE,
        "outcome": outcome.value,
        "failed": kind != "compare" and outcome is Outcome.FAIL,
        "reason": _reason(verdicts, outcome, kind),
        "verdicts": verdicts,
        "notes": [*notes, *unscored([(one.before, one.after) for one in matched], metrics)],
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
    sign = 1.0 if question.higher_is_better else -1.0
    low, high = verdict.low, verdict.high
    if low is not None and high is not None:
        low, high = sorted((sign * low, sign * high))
    return {
        "variant": question.matched.variant,
        "metric": question.metric,
        "category": question.category,
        "outcome": verdict.outcome.value,
        "effect": sign * verdict.effect,
        "low": low,
        "high": high,
        "p_value": verdict.p_value,
        "p_adjusted": verdict.p_adjusted,
        "margin": question.margin,
        "higher_is_better": question.higher_is_better,
        "before": mean(_mean(question.before[case]) for case in question.cases),
        "after": mean(_mean(question.after[case]) for case in question.cases),
        "n": verdict.n,
        "epochs": verdict.epochs,
        "detectable": verdict.detectable,
        "needed_cases": verdict.needed_cases,
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
    fell = "" if kind == "regression" and outcome is Outcome.PASS else f"p = {first['p_adjusted']:.2g}, "
    told = (
        f"{first['metric']} of {first['variant']}{_within(first)} went from {first['before']:.3f} to "
        f"{first['after']:.3f} ({_interval(first)}{fell}{first['n']} cases)"
    )
    if outcome is Outcome.FAIL:
        others = f", and {len(deciding) - 1} more got worse" if len(deciding) > 1 else ""
        return f"{told}{others}"
    if outcome is Outcome.PASS:
        if not any(verdict["effect"] or verdict["low"] for verdict in verdicts):
            return "no score changed in any case"
        claim = "nothing got worse by more than its margin" if kind == "regression" else "better, and nothing worse"
        return f"{claim}: {told}"
    lack = {
        "regression": "neither a regression nor its absence",
        "improvement": "no improvement",
        "compare": "no change",
    }
    return f"{lack[kind]} could be shown from these cases: {told}"


def _within(verdict: Mapping[str, Any]) -> str:
    return f" in {verdict['category']}" if verdict["category"] else ""


def _interval(verdict: Mapping[str, Any]) -> str:
    if verdict["low"] is None:
        return ""
    return f"95% interval of the change {verdict['low']:+.3f} to {verdict['high']:+.3f}, "


def _mean(scores: Mapping[int, float]) -> float:
    return math.fsum(scores.values()) / len(scores)
