"""Differences between an adapter and its base, case by case, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.runs.averages import mean
from pytest_llmbench.runs.comparison import LEADING_METRICS, compare_variants, compared_metrics
from pytest_llmbench.runs.typed import RunDocument, VerdictDocument

Verdicts = Mapping[tuple[str, str, str | None], VerdictDocument]
"""(variant, metric, category or None) -> the gate's verdict on adapter minus base."""

_SAME_WITHIN = 1e-9  # means of epochs differ by rounding where nothing differs


def unit(document: RunDocument, metric: str) -> str | None:
    """The metric's unit, None for a bare score."""
    about = document.metadata.metrics.get(metric)
    return None if about is None else about.unit


def relative_change(difference: float | None, *, higher: bool) -> str | None:
    """`better`, `same` or `worse`; None where there is no difference to judge."""
    if difference is None:
        return None
    if abs(difference) <= _SAME_WITHIN:
        return "same"
    return "better" if (difference > 0) == higher else "worse"


def case_differences(document: RunDocument, metric: str, adapter: str) -> dict[str, dict[str, float]]:
    """By category, then case: adapter minus base, a mean over the epochs that are scored for both."""
    comparison = compare_variants(document, adapter, metric)
    if document.statistics.cases == document.statistics.total_tests:  # no case has several epochs
        alone: dict[str, dict[str, float]] = {}
        for pair in comparison.changes if comparison else ():
            alone.setdefault(pair.category, {})[pair.case] = pair.difference
        return alone
    epochs: dict[str, dict[str, list[float]]] = {}
    for pair in comparison.changes if comparison else ():
        epochs.setdefault(pair.category, {}).setdefault(pair.case, []).append(pair.difference)
    return {
        category: {case: mean(values) or 0.0 for case, values in cases.items()} for category, cases in epochs.items()
    }


def verdicts_against_base(document: RunDocument) -> Verdicts:
    """The verdicts on adapters against their own base; those against a baseline are of other pairs."""
    gate = document.paired_with_base
    return {(item.variant, item.metric, item.category): item for item in gate.verdicts} if gate else {}


def metrics_in_order(document: RunDocument) -> list[str]:
    """The metrics that judge first, then the others that variants may be compared by, as the run has them."""
    found = compared_metrics(document)
    return [
        *(name for name in LEADING_METRICS if name in found),
        *(name for name in found if name not in LEADING_METRICS),
    ]
