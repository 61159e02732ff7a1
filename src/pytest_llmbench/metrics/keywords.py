"""The words of an answer: how many of a case's keywords it holds, and how much it speaks of the tool that it should.

Relevance is the reference's `min(1, found / (total * 0.3))`; what `total` counts, and why:
docs/decisions/0001-relevance-count-of-terms.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.text import Spelling, found

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric

_ENOUGH = 0.3
"""The share of a tool's terms that makes an answer fully relevant (the reference's constant)."""


def keyword_share(spelling: Spelling) -> AnswerMetric:
    """A metric: keywords found over keywords expected, 0 to 1; unscored for a case without keywords."""

    def keywords(case: Case, completion: Completion) -> float | None:
        if not case.keywords:
            return None
        return len(found_keywords(case, completion.text, spelling)) / len(case.keywords)

    return keywords


def found_keywords(case: Case, text: str, spelling: Spelling) -> tuple[str, ...]:
    """The case's keywords that stand in the text, as the suite writes them and in its order."""
    normalised = spelling.normalise(text)
    return tuple(keyword for keyword in case.keywords if found([spelling.normalise(keyword)], normalised))


def relevance(tools: Mapping[str, Sequence[str]], spelling: Spelling) -> AnswerMetric:
    """A metric, 0 to 1: relevance to the case's tool, or to the best matching tool when the case names none.

    Unscored where no terms are known: the vocabulary is empty, or has none for the tool.
    """
    terms = {tool: tuple(dict.fromkeys(map(spelling.normalise, listed))) for tool, listed in tools.items()}

    def relevance_of(case: Case, completion: Completion) -> float | None:
        judged = [terms.get(case.tool, ())] if case.tool is not None else list(terms.values())
        text = spelling.normalise(completion.text)
        return max((_share(group, text) for group in judged if group), default=None)

    return relevance_of


def _share(terms: Sequence[str], text: str) -> float:
    return min(1.0, len(found(terms, text)) / (len(terms) * _ENOUGH))
