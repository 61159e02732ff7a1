"""Documents of autotune sessions for the reports' tests: one target with every question, and several targets."""

from __future__ import annotations

import functools
import json
from typing import Any

from pytest_llmbench.autotune.document import TargetLimits
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.load.records import SLO
from pytest_llmbench.reports.serving.document import limits_document
from pytest_llmbench.runs.storage import as_json
from support.serving_findings import LEVELS, finding, queued_trial, users_finding

COMMAND = "llmbench autotune --server http://127.0.0.1:8000/v1"
HOSTILE = "</script><img src=x onerror=alert(1)> \u202eabc {value} $x_1$"
PROMISE = SLO(0.95, 3.0)


def target(name: str = "qwen2.5-3b-instruct", **changed: Any) -> TargetLimits:
    known: Any = {
        "name": name,
        "url": "http://127.0.0.1:8000/v1",
        "model_name": name,
        "engine": "llama.cpp",
        "findings": {"users": users_finding()},
        "temperature": None,
    }
    return TargetLimits.model_validate(known | changed)


def history_finding() -> dict[str, Any]:
    """Longer prompts take longer to read, until 6 messages are too many."""
    trials = [
        queued_trial(4, seed=level, reading_s=0.1 + 0.13 * level, tokens=50, answers=40)
        for level in (2, 4, 6, 8, 12, 9, 10, 8, 9, 10)
    ]
    levels = (2, 4, 6, 8, 12, 9, 10, 8, 9, 10)
    return finding(trials, PROMISE, 16, question="history", users_held=4, levels=levels)


def tokens_finding() -> dict[str, Any]:
    """An answer of a token more takes 30 ms more; fewer are cut off."""
    levels = (16, 32, 64, 128, 96, 88, 104, 90, 96)
    trials = [queued_trial(3, seed=level, tokens=level, answers=36) for level in levels]
    cut = [
        {"level": level, "share": share, "answers": 36}
        for level, share in ((16, 1.0), (32, 0.81), (64, 0.3), (88, 0.14), (96, 0.1), (104, 0.08), (128, 0.02))
    ]
    more: Any = {"cut_off": cut, "cut_off_at_value": 0.1}
    return finding(trials, PROMISE, 128, question="max_tokens", users_held=3, levels=levels, **more)


def rate_finding() -> dict[str, Any]:
    return finding(
        [queued_trial(level, seed=place) for place, level in enumerate(LEVELS)],
        PROMISE,
        50,
        question="rate",
        scale=0.25,
    )


def grid() -> dict[str, Any]:
    """Quality by temperature: three metrics between 0 and 1, and one that is not."""
    points = [
        {
            "temperature": temperature,
            "scores": {
                "relevance": {"mean": 0.62 - spread, "low": 0.5 - spread, "high": 0.74 - spread, "count": 30},
                "tool_accuracy": {"mean": 0.53 - spread / 2, "low": 0.35, "high": 0.7, "count": 30},
                "keywords": {"mean": 0.4 + spread, "low": 0.28, "high": 0.55 + spread, "count": 30},
                "cosine_similarity": {"mean": None, "low": None, "high": None, "count": 0},
            },
            "against": None,
        }
        for temperature, spread in ((0.0, 0.0), (0.3, -0.03), (0.7, 0.05), (1.0, 0.2))
    ]
    metrics = ["relevance", "tool_accuracy", "keywords", "cosine_similarity"]
    return {"metrics": metrics, "points": points, "best": 0.3, "reason": "highest relevance, not worse elsewhere"}


def full_target(name: str = "qwen2.5-3b-instruct") -> TargetLimits:
    findings = {
        "users": users_finding(),
        "rate": rate_finding(),
        "history": history_finding(),
        "max_tokens": tokens_finding(),
    }
    return target(name, findings=findings, temperature=grid())


def full_document() -> dict[str, Any]:
    return json.loads(_full())  # type: ignore[no-any-return]


@functools.cache
def _full() -> str:
    return as_json(limits_document([full_target()], Settings(), COMMAND).json_ready())


def users_document(**changed: Any) -> dict[str, Any]:
    return limits_document([target(findings={"users": users_finding(**changed)})], Settings(), COMMAND).json_ready()


def several_document() -> dict[str, Any]:
    """One with every question, one that is slower, one whose limit was not reached."""
    return json.loads(_several())  # type: ignore[no-any-return]


@functools.cache
def _several() -> str:
    slow = target(
        "llama-3.1-8b-instruct", engine="vLLM", findings={"users": users_finding((1, 2, 4, 3, 3, 2, 4, 3), slots=1)}
    )
    capped = target("smollm2-135m", findings={"users": users_finding((1, 2, 4, 8, 10, 10), highest=10, slots=30)})
    return as_json(limits_document([full_target(), slow, capped], Settings(), COMMAND).json_ready())
