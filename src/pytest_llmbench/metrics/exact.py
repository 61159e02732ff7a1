"""Whether the answer is the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmbench.metrics.text import Spelling

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion
    from pytest_llmbench.metrics.registry import AnswerMetric

_EDGES = " .!?…;,:\"'«»"


def exact_match(spelling: Spelling) -> AnswerMetric:
    """A metric: whether answer and reference are the same text but for white space and punctuation at the ends."""

    def same(text: str) -> str:
        return spelling.normalise(text).strip(_EDGES)

    def exact(case: Case, completion: Completion) -> bool | None:
        return None if case.reference is None else same(completion.text) == same(case.reference)

    return exact
