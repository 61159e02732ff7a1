r"""ROUGE with words as French writes them.

rouge-score's own tokenizer keeps `[a-z0-9]` only: "été" becomes "t", and "l'élève" "l l ve". Here a word is letters,
digits and accents of any script; an apostrophe ends the elided word it belongs to ("l'élève" is "l'" and "élève",
"aujourd'hui" one word), and hyphens part words ("rendez-vous" is "rendez" and "vous").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_llmbench.core.extras import required
from pytest_llmbench.metrics.text import Spelling

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric

_ELIDED = "l|d|j|m|t|s|n|c|qu|jusqu|lorsqu|puisqu|quoiqu"
_WORD = re.compile(rf"\b(?:{_ELIDED})'|[^\W_]+(?:'[^\W_]+)*")


class FrenchWords:
    """The tokenizer that rouge-score is handed; case and the shape of apostrophes do not matter, accents do."""

    def __init__(self) -> None:
        self._spelling = Spelling(accent_sensitive=True)

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return _WORD.findall(self._spelling.normalise(text))


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
