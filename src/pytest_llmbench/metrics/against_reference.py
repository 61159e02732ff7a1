"""The metrics that hold an answer against its case's `reference`, and those of its form, by name.

BLEU of words and chrF of characters are sacrebleu's. Both are given for one answer, 0 to 1, so that they can be
compared answer by answer; `corpus_scores` gives what papers report, over all answers at once and 0 to 100.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from pytest_llmbench.core.extras import required
from pytest_llmbench.metrics.degeneration import repetition, runaway_dialogue
from pytest_llmbench.metrics.similarity import semantic_similarity
from pytest_llmbench.metrics.text import Spelling, eliding_words

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric, MetricRegistry


_SAYS_SOMETHING = frozenset("%‰#@&_/\\§")  # punctuation to Unicode, part of what was said to a reader: 5 %, C#
_SIGN = re.compile(r"[-\N{EN DASH}](?=[^\w\s]*\d|\w\b)")  # of a number, of an amount, or of x

_OF_ONE = 100.0


def _exact_match(spelling: Spelling) -> AnswerMetric:
    """A metric: whether answer and reference are the same text but for white space and punctuation at the ends."""

    def same(text: str) -> str:
        return _without_edges(spelling.normalise(text))

    def exact(case: Case, completion: Completion) -> bool | None:
        return None if case.reference is None else same(completion.text) == same(case.reference)

    return exact


def _without_edges(text: str) -> str:
    """The text without white space and punctuation at its ends, but with a sign; all of it where it is nothing else."""
    start, end = 0, len(text)
    while start < end and _is_edge(text[start]) and not _SIGN.match(text, start):
        start += 1
    while end > start and _is_edge(text[end - 1]):
        end -= 1
    return text[start:end] or text


def _is_edge(character: str) -> bool:
    if character in _SAYS_SOMETHING:
        return False
    return character.isspace() or unicodedata.category(character).startswith("P")


class _Known(NamedTuple):
    make: Callable[[Spelling], AnswerMetric]
    higher_is_better: bool = True


_KNOWN: Mapping[str, _Known] = {
    "bleu": _Known(lambda _: _sentence_bleu()),
    "chrf": _Known(lambda _: _sentence_chrf()),
    "rouge_1": _Known(lambda _: rouge("rouge1")),
    "rouge_2": _Known(lambda _: rouge("rouge2")),
    "rouge_l": _Known(lambda _: rouge("rougeL")),
    "semantic_similarity": _Known(lambda _: semantic_similarity()),
    "exact_match": _Known(_exact_match),
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


class FrenchWords:
    """The tokenizer that rouge-score is handed; case and the shape of apostrophes do not matter, accents do.

    rouge-score's own keeps `[a-z0-9]` only: "été" becomes "t", and "l'élève" "l l ve". Here a word is letters, digits
    and accents of any script, a single letter in those written without spaces; an apostrophe ends the elided word it
    belongs to ("l'élève" is "l'" and "élève", "aujourd'hui" one word), and hyphens part words ("rendez-vous" is
    "rendez" and "vous").
    """

    def __init__(self) -> None:
        self._spelling = Spelling(accent_sensitive=True)

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return eliding_words(self._spelling.normalise(text))


def rouge(kind: str) -> AnswerMetric:
    """A metric: the F1 of ROUGE `rouge1`, `rouge2` (n-grams) or `rougeL` (longest common subsequence), Lin 2004.

    Raises:
        NotReadyError: rouge-score is not installed.
    """
    scorer = required("rouge_score.rouge_scorer").RougeScorer([kind], tokenizer=FrenchWords())

    def f1(case: Case, completion: Completion) -> float | None:
        if case.reference is None:
            return None
        return float(scorer.score(case.reference, completion.text)[kind].fmeasure)

    return f1


class _CorpusScores(TypedDict):
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of all answers at once, 0 to 100, with their signatures."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


def _sentence_bleu() -> AnswerMetric:
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


def _sentence_chrf() -> AnswerMetric:
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


def corpus_scores(answers: Sequence[str], references: Sequence[str]) -> _CorpusScores:
    """Both scores over all answers, as sacrebleu gives them. Raises NotReadyError: sacrebleu is not installed."""
    metrics = required("sacrebleu.metrics")
    bleu, chrf = metrics.BLEU(), metrics.CHRF()
    return _CorpusScores(
        bleu=float(bleu.corpus_score(list(answers), [list(references)]).score),
        chrf=float(chrf.corpus_score(list(answers), [list(references)]).score),
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )


def _bounded(score: float) -> float:
    """Of one instead of a hundred; sacrebleu's geometric mean of four ones is a rounding above one."""
    return min(1.0, score / _OF_ONE)
