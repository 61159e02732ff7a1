"""Each fine-tune held against its base, whatever a run was gated on: the verdict that every report opens with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.core.records import BASE

_NAME = "this run"


def base_comparison(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The comparison of each fine-tune with the base, in a gate's shape; it fails no session.

    Alpha, metrics, categories and what a lost answer counts are those of the run's gate settings. None where there is
    nothing to hold against anything, and where the run's own gate tells better from worse already.

    Raises:
        UsageError: a score is beyond any that a metric gives.
    """
    variants, gate = document["metadata"]["variants"], document["gate"]
    if BASE not in variants or len(variants) == 1:
        return None
    from pytest_llmbench.runs.baseline import comparable
    from pytest_llmbench.runs.gate import DEFAULT_METRICS, compare_with_base

    if gate and tells_better(gate):
        return None

    settings = (document["metadata"].get("settings") or {}).get("gate") or {}
    wanted, measured = settings.get("metrics") or DEFAULT_METRICS, document["statistics"]["metrics"]
    return compare_with_base(
        comparable(document, _NAME),
        kind="compare",
        alpha=settings.get("alpha", 0.05),
        metrics=[name for name in wanted if name in measured],
        categories=settings.get("categories", True),
        unscored=settings.get("unscored", "worst"),
    )


def with_comparison(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with its `comparison`; a run that lacks it, as older ones do, is judged now."""
    return document if document.get("comparison") else {**document, "comparison": base_comparison(document)}


def tells_better(gate: Mapping[str, Any]) -> bool:
    """As `GateDocument.tells_better`, of a gate that is not read yet."""
    return bool(gate["against"] == BASE and gate["kind"] != "regression" and gate["verdicts"])
