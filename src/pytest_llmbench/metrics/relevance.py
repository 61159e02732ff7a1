"""How much an answer speaks of the tool it should: the reference's `min(1, found / (total * 0.3))`.

What `total` counts, and why: docs/decisions/0001-relevance-count-of-terms.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.text import Spelling, found

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric

ENOUGH = 0.3
"""The share of a tool's terms that makes an answer fully relevant (the reference's constant)."""


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
    return min(1.0, len(found(terms, text)) / (len(terms) * ENOUGH))
