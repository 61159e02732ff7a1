"""How alike answers to different cases are: the ground from which a similarity between two answers counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_llmbench.core.records import BASE, CaseResult, Run

_COSINE = "cosine_similarity"
_MOST_PAIRS = 200
_SHIFTS = 7


def cosine_between_cases(run: Run) -> dict[str, dict[str, Any]]:
    """By adapter: the mean cosine similarity of its answers to the base's answers to other cases, and how many pairs.

    Nothing for a variant that has no two such answers with embeddings, and for a run that does not score similarity.
    """
    if BASE not in run.variants or not any(_COSINE in result.scores for result in run.results):
        return {}
    found = {variant: _similarities(run.results, variant) for variant in run.variants if variant != BASE}
    return {
        variant: {"mean": round(sum(values) / len(values), 6), "pairs": len(values)}
        for variant, values in found.items()
        if values
    }


def _similarities(results: Sequence[CaseResult], variant: str) -> list[float]:
    from pytest_llmbench.metrics.similarity import similarity

    found: list[float] = []
    for first, second in _pairs(results):
        base, other = first.completions.get(BASE), second.completions.get(variant)
        value = similarity(base, other) if base is not None and other is not None else None
        if value is not None:
            found.append(value)
        if len(found) == _MOST_PAIRS:
            break
    return found


def _pairs(results: Sequence[CaseResult]) -> Iterator[tuple[CaseResult, CaseResult]]:
    """Each result with some that come after it, going round; never with the same case, or the same question."""
    for shift in range(1, _SHIFTS + 1):
        for place, first in enumerate(results):
            second = results[(place + shift) % len(results)]
            if first.case != second.case and first.prompt != second.prompt:
                yield first, second
