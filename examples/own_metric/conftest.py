"""Metrics for answers that are read aloud: they must be short."""

from __future__ import annotations

from pytest_llmbench.api import Case, Completion, MetricRegistry

MOST_WORDS = 12


def brevity(_case: Case, completion: Completion) -> float | None:
    """1 for an answer that is short enough to be listened to, falling to 0 at twice that length."""
    words = len(completion.text.split())
    return min(1.0, max(0.0, 2 - words / MOST_WORDS)) if words else None


def saved_words(_case: Case, base: Completion, completion: Completion) -> int:
    """How many words shorter than the base's answer."""
    return len(base.text.split()) - len(completion.text.split())


def pytest_llmbench_metrics(registry: MetricRegistry) -> None:
    registry.add("brevity", brevity)
    registry.add("saved_words", saved_words, pair=True, unit="words")
