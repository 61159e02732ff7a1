"""How fast an answer came. A cached answer keeps the timings of when it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import Case
    from pytest_llmbench.core.records import Completion


def latency(_case: Case, completion: Completion) -> float | None:
    """Seconds from question to last token; for a timed-out answer, the seconds waited, a lower bound."""
    return completion.latency_s


def tokens_per_s(_case: Case, completion: Completion) -> float | None:
    """Tokens of the answer over its latency; unscored when either is not known."""
    return completion.tokens_per_s
