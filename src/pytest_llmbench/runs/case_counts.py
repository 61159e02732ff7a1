"""How many cases a verdict rests on, and in how many groups of cases that are alike, in the reader's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench.core.locale import NN_, Words
from pytest_llmbench.runs.typed import VerdictDocument

_CASES = NN_("{count} case", "{count} cases")
_GROUPS = NN_("{count} group", "{count} groups")

Verdict = Mapping[str, Any]
"""One entry of a gate's `verdicts`; older ones do not tell their `units`."""


def count(verdict: VerdictDocument, say: Words) -> str:
    """`30`, `30x3` where each case was asked three times, `30 in 10 groups` where cases depend on each other."""
    cases = f"{verdict.n}x{verdict.epochs}" if verdict.epochs > 1 else str(verdict.n)
    return " ".join(filter(None, [cases, groups_text(verdict, say)]))


def groups_text(verdict: VerdictDocument, say: Words) -> str | None:
    """`in 10 groups`; None where each case stands for itself."""
    return say("in {groups} groups", groups=verdict.units) if _has_groups(verdict) else None


def cases_text(verdict: VerdictDocument, say: Words) -> str:
    """`30 cases`, `30 cases in 10 groups`."""
    return " ".join(filter(None, [say.plural(*_CASES, verdict.n), groups_text(verdict, say)]))


def units_text(verdict: VerdictDocument, number: int, say: Words, written: Callable[[int], str] = str) -> str:
    """A number of what the verdict samples: `200 cases`, or `200 groups`."""
    return say.plural(*(_GROUPS if _has_groups(verdict) else _CASES), number, count=written(number))


def needed_text(verdict: VerdictDocument, say: Words) -> str | None:
    """`200 cases (120 to 700)`: what would settle the verdict, and between which numbers; None where none is known."""
    if verdict.needed_cases is None:
        return None
    needed, between = units_text(verdict, verdict.needed_cases, say), needed_range(verdict, say)
    return f"{needed} ({between})" if between else needed


def needed_range(verdict: VerdictDocument, say: Words, written: Callable[[int], str] = str) -> str | None:
    """`120 to 700`, over the effects that the interval holds; None where no other number is known."""
    least, most = verdict.needed_cases_range or (None, None)
    if least is None or least == most:
        return None
    if most is None:
        return say("{least} at best, at worst no number of them", least=written(least))
    return say("{least} to {most}", least=written(least), most=written(most))


def _has_groups(verdict: VerdictDocument) -> bool:
    return verdict.units not in (None, verdict.n)
