"""Metrics: functions that score one answer, or an answer against the base's, for a case.

A metric sees answers only. A completion that failed (`finish="error"`) is missing data, and so is one that timed out
before its first character or ended in its thinking: they are *unscored* (`None`), never zero; comparisons count them as
lost. One that timed out later is scored on the text it had, as an answer cut by `max_new_tokens` is; leaving it out
would favour the slower variant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.keywords import keyword_share, relevance
from pytest_llmbench.metrics.registry import Metric, MetricRegistry
from pytest_llmbench.metrics.routing import Route
from pytest_llmbench.metrics.similarity import cosine_similarity
from pytest_llmbench.metrics.text import Spelling

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case, Vocabulary
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.core.settings import MetricsSettings


__all__ = ["Metric", "MetricRegistry", "Spelling", "default_metrics"]


def default_metrics(settings: MetricsSettings, vocabulary: Vocabulary, cases: Iterable[Case] = ()) -> MetricRegistry:
    """The built-in metrics that the settings leave on, in the order reports show them.

    `call_accuracy` is among them where any of the `cases` says which calls are right.
    """
    spelling = Spelling(settings.case_sensitive, settings.accent_sensitive)
    registry = MetricRegistry()
    if settings.keywords:
        registry.add("keywords", keyword_share(spelling))
    if settings.relevance:
        registry.add("relevance", relevance(vocabulary.tools, spelling))
    if settings.tool_accuracy:
        route = Route(vocabulary.tools, settings.call_form)
        registry.add("tool_accuracy", route.accuracy, reasons=route.reasons)
    if settings.call_accuracy and any(case.calls is not None for case in cases):
        _add_call_accuracy(registry, spelling, vocabulary)
    if settings.cosine_similarity:
        registry.add("cosine_similarity", cosine_similarity, pair=True)
    if settings.reference:
        from pytest_llmbench.metrics.against_reference import add_reference_metrics

        add_reference_metrics(registry, settings.reference, spelling)
    if settings.latency_s:
        registry.add("latency_s", latency_s, higher_is_better=False, unit="s")
    if settings.tokens_per_s:
        registry.add("tokens_per_s", tokens_per_s, unit="tokens/s")
    return registry


def _add_call_accuracy(registry: MetricRegistry, spelling: Spelling, vocabulary: Vocabulary) -> None:
    from pytest_llmbench.metrics.calls import call_accuracy, call_reasons

    known = vocabulary.tools
    registry.add("call_accuracy", call_accuracy(spelling, known), reasons=call_reasons(spelling, known))


def latency_s(_case: Case, completion: Completion) -> float | None:
    """Seconds from question to last token; for a timed-out answer, the seconds waited, a lower bound."""
    return completion.latency_s


def tokens_per_s(_case: Case, completion: Completion) -> float | None:
    """Tokens of the answer over its latency; unscored when either is not known."""
    return completion.tokens_per_s
