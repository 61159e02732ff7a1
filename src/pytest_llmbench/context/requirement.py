"""Whether a server holds as long a context as is required, told from the three limits that were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ContextTarget, LimitDocument, LimitName

Outcome = Literal["met", "missed", "unsure"]

_WORDS: dict[LimitName, str] = {"accepted": "accepted", "in_time": "answered in time", "right": "answered right"}
_WORST_FIRST: tuple[Outcome, ...] = ("missed", "unsure", "met")
_TODO: dict[Outcome, str] = {
    "met": "surely held",
    "missed": "surely not held; the report says which limit ends it and why",
    "unsure": "not sure enough; raise context.probes or context.repeats, or let it pass with gate.inconclusive: pass",
}


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """The answer, in one sentence with its evidence. `failed` is what it means for the session."""

    outcome: Outcome
    failed: bool
    message: str


def judge_context(
    target: ContextTarget, required: int, inconclusive: Literal["auto", "pass", "fail"], only: LimitName | None = None
) -> RequirementResult:
    """Hold the limits of a target, or `only` one of them, against a length that must be surely held.

    A length is held where the lower end of each limit's interval reaches it, and missed where an upper end does not.
    Between the two, and where a limit was not measured, it fails too, unless `inconclusive` is `pass`.
    """
    known = dict(target.limits.sought())
    limits = {name: known.get(name) for name in _WORDS if only in (None, name)}
    outcomes = {name: _outcome(limit, required) for name, limit in limits.items()}
    outcome = min(outcomes.values(), key=_WORST_FIRST.index)
    about = [name for name in limits if outcomes[name] == outcome]
    found = "; ".join(f"{_WORDS[name]}: {_interval(limits[name])}" for name in about)
    failed = outcome == "missed" or (outcome == "unsure" and inconclusive != "pass")
    return RequirementResult(outcome, failed, f"{found}; {required} tokens are required: {_TODO[outcome]}")


def _outcome(limit: LimitDocument | None, required: int) -> Outcome:
    if limit is None:
        return "unsure"
    if limit.low >= required:
        return "met"
    return "missed" if limit.high is not None and limit.high < required else "unsure"


def _interval(limit: LimitDocument | None) -> str:
    if limit is None:
        return "not measured"
    if limit.high is None:
        return f"{limit.tokens} tokens or more (at least {limit.low})"
    return f"{limit.tokens} tokens (95 % interval {limit.low} to {limit.high})"
