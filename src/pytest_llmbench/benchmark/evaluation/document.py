"""An evaluation's document as typed models, read from JSON that obeys `schemas/evaluation.schema.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from pytest_llmbench.core.records import BASE
from pytest_llmbench.runs.typed import AnswerDocument, AnsweringBackend, TypedDocument, read_as

ComparisonOutcome = Literal["better", "worse", "no difference shown"]


class AdapterDocument(TypedDocument):
    """A fine-tune that answered."""

    path: str


class Answering(AnsweringBackend):
    """Who answered, and what was loaded for it; a server has `models`, by variant."""

    base_model: str | None = None
    url: str | None = None
    quantization: str | None = None
    adapters: dict[str, AdapterDocument] | None = None
    models: dict[str, str | None] | None = None

    @property
    def fine_tunes(self) -> list[str]:
        """The folders of adapters, or the names that a server has for them."""
        if self.adapters:
            return [one.path for one in self.adapters.values()]
        return [name or variant for variant, name in (self.models or {}).items() if variant != BASE]


class EvaluationMetadata(TypedDocument):
    """What was asked, and how."""

    test_set: str
    questions: int
    alpha: float
    backend: Answering
    chunks: str | None = None
    retrieval: str | None = None
    passages: int | None = None


class MetricDocument(TypedDocument):
    """What is known of a metric."""

    higher_is_better: bool


class MeanDocument(TypedDocument):
    """A variant's mean of a metric."""

    mean: float


class Corpus(TypedDocument):
    """Scores over all answers at once, from 0 to 100; None where no answer came.

    `questions` are those that every variant answered; older evaluations took each variant's own, and do not tell.
    """

    bleu: float | None = None
    chrf: float | None = None
    questions: int | None = None


class ComparisonDocument(TypedDocument):
    """One variant against another in one metric; a positive effect is better."""

    variant: str
    against: str
    metric: str
    effect: float
    low: float | None
    high: float | None
    outcome: ComparisonOutcome
    needed_cases: int | None = None


class PerplexityDocument(TypedDocument):
    """How a variant likes general texts, and how many times more than the base it is surprised."""

    perplexity: float
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    outcome: ComparisonOutcome | None = None


class EvaluationResult(TypedDocument):
    """One question with its answers, which are text alone where nothing else is known of them."""

    question: str
    reference: str | None = None
    answers: dict[str, AnswerDocument | str]

    @property
    def texts(self) -> dict[str, str | None]:
        """What each variant answered, or why that failed; None where nothing was."""
        return {name: one if isinstance(one, str) else one.told for name, one in self.answers.items()}


class Forgetting(TypedDocument):
    """General knowledge before and after; a server tells no perplexity."""

    texts: int
    perplexity: dict[str, PerplexityDocument] | None
    answers: tuple[EvaluationResult, ...] = ()


class Evaluation(TypedDocument):
    """`evaluation.json`."""

    metadata: EvaluationMetadata
    variants: tuple[str, ...]
    metrics: dict[str, MetricDocument]
    scores: dict[str, dict[str, MeanDocument]]
    corpus: dict[str, Corpus] = Field(default_factory=dict)
    finishes: dict[str, dict[str, int]] = Field(default_factory=dict)
    comparisons: tuple[ComparisonDocument, ...] = ()
    forgetting: Forgetting | None = None
    results: tuple[EvaluationResult, ...] = ()

    def mean(self, variant: str, metric: str) -> float | None:
        """None where the metric did not score the variant."""
        found = self.scores.get(variant, {}).get(metric)
        return None if found is None else found.mean

    @property
    def answers(self) -> dict[str, list[AnswerDocument]]:
        """Each variant's answers to the questions."""
        found: dict[str, list[AnswerDocument]] = {}
        for result in self.results:
            for variant, answer in result.answers.items():
                found.setdefault(variant, []).append(AnswerDocument(text=answer) if isinstance(answer, str) else answer)
        return found


def typed_evaluation(document: Mapping[str, Any]) -> Evaluation:
    """The evaluation in a document that obeys `schemas/evaluation.schema.json`."""
    return read_as(Evaluation, document)
