"""Overlap with the reference in n-grams: BLEU of words and chrF of characters, by sacrebleu.

Both are given for one answer, 0 to 1, so that they can be compared answer by answer; `corpus_scores` gives what papers
report, over all answers at once and 0 to 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from pytest_llmbench.core.extras import required

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric

_OF_ONE = 100.0


class CorpusScores(TypedDict):
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of all answers at once, 0 to 100, with their signatures."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def sentence_bleu() -> AnswerMetric:
    """A metric: BLEU of one answer, 0 to 1; up to the answer's length in n-grams, exponential smoothing.

    Raises:
        NotReadyError: sacrebleu is not installed.
    """
    scorer = required("sacrebleu.metrics").BLEU(effective_order=True)

    def bleu(case: Case, completion: Completion) -> float | None:
        if case.reference is None:
            return None
        return _bounded(scorer.sentence_score(completion.text, [case.reference]).score)

    return bleu


def sentence_chrf() -> AnswerMetric:
    """A metric: chrF of one answer, 0 to 1; endings and accents that differ cost a little, not the whole word.

    Raises:
        NotReadyError: sacrebleu is not installed.
    """
    scorer = required("sacrebleu.metrics").CHRF()

    def chrf(case: Case, completion: Completion) -> float | None:
        if case.reference is None:
            return None
        return _bounded(scorer.sentence_score(completion.text, [case.reference]).score)

    return chrf


def corpus_scores(answers: Sequence[str], references: Sequence[str]) -> CorpusScores:
    """Both scores over all answers, as sacrebleu gives them. Raises NotReadyError: sacrebleu is not installed."""
    metrics = required("sacrebleu.metrics")
    bleu, chrf = metrics.BLEU(), metrics.CHRF()
    return CorpusScores(
        bleu=float(bleu.corpus_score(list(answers), [list(references)]).score),
        chrf=float(chrf.corpus_score(list(answers), [list(references)]).score),
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )


def _bounded(score: float) -> float:
    """Of one instead of a hundred; sacrebleu's geometric mean of four ones is a rounding above one."""
    return min(1.0, score / _OF_ONE)
