"""How many cases a verdict rests on, and in how many groups of cases that are alike, in the reader's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmbench.reports.wording import Words

Verdict = Mapping[str, Any]
"""One entry of a gate's `verdicts`; older ones do not tell their `units`."""


def count(verdict: Verdict, say: Words, times: str = "x") -> str:
    """`30`, `30x3` where each case was asked three times, `30 in 10 groups` where cases depend on each other."""
    cases = f"{verdict['n']}{times}{verdict['epochs']}" if verdict["epochs"] > 1 else str(verdict["n"])
    return say("count_in_groups", cases=cases, groups=verdict["units"]) if _has_groups(verdict) else cases


def cases_text(verdict: Verdict, say: Words) -> str:
    """`30 cases`, `30 cases in 10 groups`."""
    cases = _numbered("count_cases", verdict["n"], say)
    return say("count_in_groups", cases=cases, groups=verdict["units"]) if _has_groups(verdict) else cases


def units_text(verdict: Verdict, number: int | str, say: Words) -> str:
    """A number of what the verdict samples: `200 cases`, or `200 groups`."""
    return _numbered("count_groups" if _has_groups(verdict) else "count_cases", number, say)


def needed_text(verdict: Verdict, say: Words) -> str | None:
    """`200 cases (120 to 700)`: what would settle the verdict, and between which numbers; None where none is known."""
    needed = verdict["needed_cases"]
    if needed is None:
        return None
    least, most = verdict.get("needed_cases_range") or (needed, needed)
    key = "count_needed_at_best" if most is None else "count_needed_range"
    between = say(key, least=least, most=most) if least != most else ""
    return units_text(verdict, needed, say) + between


def _has_groups(verdict: Verdict) -> bool:
    return bool(verdict.get("units", verdict["n"]) != verdict["n"])


def _numbered(key: str, number: int | str, say: Words) -> str:
    return say(f"{key}_one" if number == 1 else key, count=number)
