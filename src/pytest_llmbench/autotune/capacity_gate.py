"""Whether a server holds as many users as are required, told from what a search found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_llmbench.autotune.document import Finding

SURE = 0.95
"""The probability from which the requirement is met; what is left of 1 is where it is missed."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """The answer, in one sentence with its evidence. `failed` is what it means for the session."""

    outcome: Literal["met", "missed", "unsure"]
    failed: bool
    message: str


def judge_requirement(finding: Finding, required: int, inconclusive: Literal["auto", "pass", "fail"]) -> Requirement:
    """Hold the finding on users against a number that must be surely held.

    The requirement is met when the search was decided and the probability that the capacity is that much is at least
    0.95, and missed when it is at most 0.05. Between the two it fails too, unless `inconclusive` is `pass`; and so it
    does where nobody tried so many, however well those do who were tried.
    """
    tried = finding.highest_tried
    if finding.chance_required is None and tried is not None and tried < required:
        against = f"{required} are required, and no more than {tried} were tried"
        return Requirement(
            "unsure", inconclusive != "pass", f"{_found(finding)}; {against}: {_todo('unsure', finding)}"
        )
    chance = float(finding.chance_required or 0.0)
    outcome: Literal["met", "missed", "unsure"] = (
        "missed" if chance <= 1 - SURE else "met" if chance >= SURE and finding.decided else "unsure"
    )
    against = _against(required, chance)
    if outcome == "unsure" and chance >= SURE:
        against += ", but the search was not decided"
    failed = outcome == "missed" or (outcome == "unsure" and inconclusive != "pass")
    return Requirement(outcome, failed, f"{_found(finding)}; {against}: {_todo(outcome, finding)}")


_TODO = {
    "met": "surely held",
    "missed": (
        "surely not held; give the server more room (the report says why the limit is where it is), relax load.latency "
        "or load.quantile, or require fewer"
    ),
    "unsure": "not sure enough; raise {limit}, or let it pass with gate.inconclusive: pass",
}


def _todo(outcome: Literal["met", "missed", "unsure"], finding: Finding) -> str:
    return _TODO[outcome].format(limit="load.time_limit" if finding.ended_by == "time" else "load.budget")


def _found(finding: Finding) -> str:
    value = f"{finding.value} or more" if finding.capped and finding.value else f"{finding.value}"
    end = f"{finding.high} or more" if finding.unbounded else f"{finding.high}"
    return f"the server holds {value} users (95 % interval {finding.low} to {end})"


def _against(required: int, chance: float) -> str:
    shown = "below 0.01" if chance < 0.01 else "above 0.99" if chance > 0.99 else f"{chance:.2f}"  # noqa: PLR2004
    return f"{required} are required, and the probability that it holds them is {shown}"
