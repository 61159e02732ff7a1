"""Gate objects as a run document holds them, small enough to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.core.records import Run
from pytest_llmbench.runs.document import build_document
from support.report_runs import full_run

BASELINE: Mapping[str, Any] = {
    "name": "0007_accepted",
    "path": "reports/runs/0007_accepted/run.json",
    "commit": "abcdef0123456789abcdef0123456789abcdef01",
    "timestamp": "2026-02-11T10:00:00+00:00",
}
EFFECTS = {
    "fail": (-0.12, -0.2, -0.05, 0.003),
    "pass": (0.1, 0.02, 0.18, 1.0),
    "inconclusive": (-0.03, -0.1, 0.04, 0.4),
}


def verdict(
    outcome: str = "fail", metric: str = "relevance", category: str | None = None, **changed: Any
) -> dict[str, Any]:
    """An ordinary verdict; the inconclusive one says what would settle it."""
    effect, low, high, p = EFFECTS[outcome]
    open_ = outcome == "inconclusive"
    return {
        "variant": "finetuned",
        "metric": metric,
        "category": category,
        "outcome": outcome,
        "effect": effect,
        "low": low,
        "high": high,
        "p_value": p / 3,
        "p_adjusted": p,
        "margin": 0.0,
        "higher_is_better": True,
        "before": 0.66,
        "after": 0.66 + effect,
        "n": 30,
        "epochs": 1,
        "detectable": 0.09,
        "needed_cases": 210 if open_ else None,
        "needed_epochs": 4 if open_ else None,
        "method": "sign-flip, 9,999 random; studentized bootstrap interval",
        "moved": [{"case": "tool_routing/cas-03", "before": 1.0, "after": 0.0}],
    } | changed


def gate(*verdicts: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A regression gate against a baseline, with the worst of its verdicts as outcome."""
    found = {one["outcome"] for one in verdicts}
    outcome = next((name for name in ("fail", "inconclusive") if name in found), "pass")
    return {
        "kind": "regression",
        "against": "baseline",
        "baseline": BASELINE,
        "alpha": 0.05,
        "confidence": 0.95,
        "outcome": outcome,
        "failed": outcome == "fail",
        "reason": "relevance of finetuned fell by 0.12 (95% interval -0.20 to -0.05, p = 0.003).",
        "verdicts": list(verdicts),
        "notes": [],
    } | changed


def note(
    kind: str = "missing_in_run", message: str = "2 cases of the baseline are not in this run: a/b, a/c"
) -> dict[str, Any]:
    """A remark on what differs between the two sides."""
    return {"kind": kind, "message": message, "cases": ["a/b", "a/c"]}


def judged(some_gate: Mapping[str, Any] | None, some_run: Run | None = None) -> dict[str, Any]:
    """A run document with this gate."""
    return build_document(some_run or full_run(), answer_chars=500) | {"gate": some_gate}
