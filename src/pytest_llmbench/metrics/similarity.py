"""How near answers are in meaning: two answers by the model's hidden states, an answer and its reference by sentences.

`similarity` is the reference's: cosine of mean last-layer hidden states of the base model.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmbench.core.extras import sentence_encoder
from pytest_llmbench.core.records import BASE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import CaseResult, Completion, Run
    from pytest_llmbench.metrics.registry import AnswerMetric

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_REMEMBERED = 4096
_COSINE = "cosine_similarity"
_MOST_PAIRS = 200
_SHIFTS = 7


def cosine_similarity(_case: Case, base: Completion, completion: Completion) -> float | None:
    """A pair metric: `similarity` of the two answers to a case."""
    return similarity(base, completion)


def similarity(first: Completion, second: Completion) -> float | None:
    """The cosine of two answers' embeddings, -1 to 1; exactly 1 for equal texts.

    None, which is unscored, when an answer has no embedding (a server gives none), or one without a direction: zero, or
    with numbers that are not finite.
    """
    if first.embedding is None or second.embedding is None:
        return None
    if first.text == second.text:
        return 1.0
    one, other = _vector(first.embedding), _vector(second.embedding)
    if not one.any() or not other.any():
        return None
    import numpy as np  # SciPy's cosine takes a third of a second to import

    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return None
    return min(1.0, max(-1.0, float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))))


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


def _vector(embedding: str) -> NDArray[np.float64]:
    """The numbers of base64 little-endian float32; float64, so that squares of large states do not overflow."""
    import numpy as np

    return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float64)


@functools.lru_cache(maxsize=_REMEMBERED)  # references come back for every variant
def _encoded(sentence: str) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = sentence_encoder().encode(sentence)
    return vector


def _split_sentences(text: str) -> list[str]:
    """The sentences and lines of a text that hold a letter or digit."""
    return [part for part in _SENTENCE_END.split(text.strip()) if any(char.isalnum() for char in part)]


def semantic_similarity() -> AnswerMetric:
    """A metric, 0 to 1: F1 of greedily matched sentences; 0 for an answer without words.

    BERTScore's greedy matching (Zhang et al. 2020), of sentences instead of tokens: each sentence of the answer is held
    against the nearest one of the reference (precision), each of the reference against the nearest of the answer
    (recall). An answer that says the right thing and then rambles loses precision. Sentences are encoded by Google's
    multilingual Universal Sentence Encoder 3, numpy only and offline. It is not BERTScore: its numbers cannot be
    compared with published ones, and a wrong name or number in a sentence costs little.

    Raises:
        NotReadyError: the encoder is not installed.
    """
    sentence_encoder()

    def similarity(case: Case, completion: Completion) -> float | None:
        if case.reference is None or not _split_sentences(case.reference):
            return None
        return greedy_f1(_split_sentences(completion.text), _split_sentences(case.reference))

    return similarity


def greedy_f1(answer: list[str], reference: list[str]) -> float:
    """F1 of the greedy matching of two lists of sentences; opposite directions count as unrelated."""
    if not answer or not reference:
        return 0.0
    import numpy as np

    first, second = (np.stack([_encoded(sentence) for sentence in part]) for part in (answer, reference))
    cosines = np.clip(first @ second.T, 0.0, 1.0)
    precision, recall = float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
