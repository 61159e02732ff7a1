"""How many of a case's keywords the answer holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmbench.metrics.text import Spelling, found

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric


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
