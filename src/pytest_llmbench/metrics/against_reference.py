"""The metrics that hold an answer against its case's `reference`, and those of its form, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmbench.metrics.degeneration import repetition, runaway_dialogue
from pytest_llmbench.metrics.exact import exact_match
from pytest_llmbench.metrics.ngrams import sentence_bleu, sentence_chrf
from pytest_llmbench.metrics.rouge import rouge
from pytest_llmbench.metrics.semantic import semantic_similarity
from pytest_llmbench.metrics.text import Spelling

if TYPE_CHECKING:
    from pytest_llmbench.metrics.registry import AnswerMetric, MetricRegistry


class _Known(NamedTuple):
    make: Callable[[Spelling], AnswerMetric]
    higher_is_better: bool = True


_KNOWN: Mapping[str, _Known] = {
    "bleu": _Known(lambda _: sentence_bleu()),
    "chrf": _Known(lambda _: sentence_chrf()),
    "rouge_1": _Known(lambda _: rouge("rouge1")),
    "rouge_2": _Known(lambda _: rouge("rouge2")),
    "rouge_l": _Known(lambda _: rouge("rougeL")),
    "semantic_similarity": _Known(lambda _: semantic_similarity()),
    "exact_match": _Known(exact_match),
    "repetition": _Known(lambda _: repetition, higher_is_better=False),
    "runaway_dialogue": _Known(lambda _: runaway_dialogue, higher_is_better=False),
}

REFERENCE_METRICS = tuple(_KNOWN)
"""Their names, in the order reports show them."""


def add_reference_metrics(registry: MetricRegistry, names: Iterable[str], spelling: Spelling) -> None:
    """Add those of `REFERENCE_METRICS` that are named; all but the last two are unscored without a reference.

    Raises:
        NotReadyError: the package of one of them is not installed.
    """
    wanted = set(names)
    for name, known in _KNOWN.items():
        if name in wanted:
            registry.add(name, known.make(spelling), higher_is_better=known.higher_is_better)
