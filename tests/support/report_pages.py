"""Run documents for the HTML report, large and small, with and without a gate."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from pytest_llmbench.core.records import CaseResult, Completion, Run
from pytest_llmbench.runs.document import build_document
from pytest_llmbench.runs.typed import RunPoint

CATEGORIES = ("tool_routing", "voice_commands", "voice_corrections")
HOSTILE = "</script><img src=x onerror=alert(1)> \u202eabc\u202c 👩‍👩‍👧 <!-- \n\n fin"
PROMPTS = (
    "monte le son s'il te plaît",
    "éteins la lumière du salon",
    "rappelle-moi d'appeler Zoé à 18 h",
    "mets un minuteur",
)
WORDS = (
    "d'accord",
    "j'augmente",
    "le",
    "volume",
    "du",
    "salon",
    "tout",
    "de",
    "suite",
    "la",
    "lumière",
    "est",
    "éteinte",
)


def large_document(cases: int, *, variants: Sequence[str] = ("base", "finetuned"), epochs: int = 1) -> dict[str, Any]:
    """Every sixth case is unscored for the base, every seventh answer of an adapter failed, one case is hostile."""
    dice = random.Random(11)
    results = [_result(number, epoch, variants, dice) for number in range(cases) for epoch in range(epochs)]
    metadata = {
        "base_model": "smollm2-135m",
        "lora_adapter": "adapters/smollm2-135m-fr",
        "device": "cpu",
        "timestamp": "2026-11-21T10:00:00+00:00",
        "epochs": epochs,
        "timings": {"total_s": 61.2},
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
        "metrics": {"latency_s": {"higher_is_better": False, "unit": "s"}},
    }
    return build_document(Run(metadata, tuple(variants), tuple(results)), answer_chars=500)


def _result(number: int, epoch: int, variants: Sequence[str], dice: random.Random) -> CaseResult:
    category, name = CATEGORIES[number % 3], f"cas-{number:05}"
    answers = {variant: _completion(f"{category}/{name}", epoch, variant, number, dice) for variant in variants}
    scored = {variant: answer for variant, answer in answers.items() if answer.finish != "error"}
    relevance = {variant: _score(variant, dice) if variant in scored else None for variant in variants}
    if number % 6 == 5 and "base" in relevance:
        relevance["base"] = None
    scores = {
        "relevance": relevance,
        "tool_accuracy": {variant: float(dice.random() < 0.5) if variant in scored else None for variant in variants},
        "latency_s": {variant: answer.latency_s for variant, answer in answers.items()},
    }
    return CaseResult(
        category=category,
        prompt_id=name,
        epoch=epoch,
        prompt=PROMPTS[number % len(PROMPTS)] if number else HOSTILE,
        keywords=("volume", "salon"),
        tool="volume_up",
        reference=None,
        completions=answers,
        scores=scores,
        outcome="failed" if number % 10 == 9 else "passed",
        timestamp="2026-11-21T10:00:00+00:00",
    )


def _score(variant: str, dice: random.Random) -> float:
    return min(1.0, round(dice.randrange(0, 5) / 4 + (0.25 if variant != "base" and dice.random() < 0.4 else 0), 3))


def _completion(case: str, epoch: int, variant: str, number: int, dice: random.Random) -> Completion:
    broken = variant != "base" and number % 7 == 6
    text = HOSTILE if not number else " ".join(dice.choices(WORDS, k=dice.randrange(4, 14))) + f" ({variant})"
    return Completion(
        case=case,
        epoch=epoch,
        variant=variant,
        text="" if broken else text,
        finish="error" if broken else "stop",
        completion_tokens=None if broken else 20,
        latency_s=None if broken else round(dice.uniform(0.2, 2.0), 3),
        error="the server closed the connection" if broken else None,
    )


def failing_gate() -> dict[str, Any]:
    """A regression that one metric shows, one does not, and one cannot tell."""
    return {
        "kind": "regression",
        "against": "baseline",
        "baseline": {
            "name": "0007_accepted",
            "path": "reports/runs/0007_accepted/run.json",
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "timestamp": "2026-11-18T09:30:00+00:00",
        },
        "alpha": 0.05,
        "confidence": 0.95,
        "outcome": "fail",
        "failed": True,
        "reason": "relevance of finetuned fell by 0.12 (95% interval -0.20 to -0.05, p = 0.003) over 30 cases.",
        "verdicts": [
            _verdict("relevance", None, "fail", -0.12, -0.2, -0.05, p=0.003),
            _verdict("tool_accuracy", None, "inconclusive", -0.04, -0.15, 0.07, p=0.41),
            _verdict("keywords", None, "pass", 0.31, 0.2, 0.42, p=1.0),
            _verdict("relevance", "tool_routing", "fail", -0.21, -0.35, -0.07, p=0.0004, n=10),
            _verdict("relevance", "voice_commands", "inconclusive", -0.1, -0.27, 0.08, p=0.3, n=10),
            _verdict("relevance", "voice_corrections", "inconclusive", 0.0, None, None, p=None, n=1),
        ],
        "notes": [
            {
                "kind": "missing_in_run",
                "message": "2 cases of the baseline are not in this run.",
                "cases": ["tool_routing/gone", "tool_routing/lost"],
            },
            {"kind": "changed_libraries", "message": "transformers 5.22.0 -> 5.23.0", "cases": []},
        ],
    }


def _verdict(
    metric: str,
    category: str | None,
    outcome: str,
    effect: float,
    low: float | None,
    high: float | None,
    *,
    p: float | None,
    n: int = 30,
) -> dict[str, Any]:
    return {
        "variant": "finetuned",
        "metric": metric,
        "category": category,
        "outcome": outcome,
        "effect": effect,
        "low": low,
        "high": high,
        "p_value": p,
        "p_adjusted": p,
        "margin": 0.05,
        "higher_is_better": True,
        "before": 0.66,
        "after": round(0.66 + effect, 3),
        "n": n,
        "epochs": 1,
        "detectable": 0.09,
        "needed_cases": 210 if outcome == "inconclusive" else None,
        "needed_epochs": None,
        "method": "sign-flip, 9,999 random; studentized bootstrap interval",
        "moved": [
            {"case": "tool_routing/volume-up", "before": 1.0, "after": 0.0},
            {"case": "tool_routing/volume-down", "before": 1.0, "after": 0.5},
        ],
    }


def saved_runs(count: int) -> list[RunPoint]:
    """Runs that got better, then worse; the third one has no base."""
    points = [
        {
            "name": f"{number:04}_accepted",
            "timestamp": f"2026-11-{number:02}T10:00:00+00:00",
            "variants": {"finetuned": {"relevance": 0.5 + 0.04 * min(number, 5), "latency_s": 1.2 - 0.1 * number}}
            | ({} if number == 3 else {"base": {"relevance": 0.18, "latency_s": 1.1}}),
            "outcome": [None, "pass", "inconclusive", "fail"][number % 4],
        }
        for number in range(1, count + 1)
    ]
    return [RunPoint.model_validate(point) for point in points]
