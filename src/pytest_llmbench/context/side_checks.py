"""What a server does beside answering: whether it remembers prompts, shifts its context, or shares one pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.context.questions import Asker, ContextQuestion
from pytest_llmbench.runs.context_document import FindingDocument

if TYPE_CHECKING:
    from pytest_llmbench.context.announced import Announced
    from pytest_llmbench.context.needles import Needle
    from pytest_llmbench.runs.context_document import FindingCode, LimitDocument, ProbeDocument, RefusalCode, Value

_CACHED_SHARE = 0.5  # of a prompt, or of the time to its first token
_SURELY_SAVED_S = 0.05  # what a server is quicker by for no reason
_TWO_SHARE = 0.6  # of the longest prompt: two of these are more than one pool holds
_LONG_ANSWER = 16
_LONGER_ANSWER = 64  # so that one is still being answered while the other is read
_WEAK = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """The server that is looked at: what it announced, the longest prompt that it takes, and a short one.

    `spent` tells that the time is over.
    """

    announced: Announced
    accepted: int
    short: int
    spent: Callable[[], bool] = lambda: False


async def prefix_cache(asker: Asker, needle: Needle, subject: Subject) -> FindingDocument | None:
    """Ask one prompt twice: a server that remembers it answers the second at once."""
    length = subject.short
    first, second = [
        await asker.ask(ContextQuestion("accepted", length, needle, 1, number, "twice"))
        for number in (_TWICE, _TWICE + 1)
    ]
    if first.refusal or second.refusal:
        return None
    cached = second.cached_tokens or 0
    times = [probe.total_s or 0.0 for probe in (first, second)]
    saved_s = times[0] - times[1]
    quick = second.cached_tokens is None and saved_s > max(_CACHED_SHARE * times[0], _SURELY_SAVED_S)
    if cached > _CACHED_SHARE * length or quick:
        told: dict[str, Value] = {"length": length, "first_s": times[0], "again_s": times[1]}
        told["cached_tokens"] = second.cached_tokens
        return FindingDocument(code="prefix_cache_seen", values=told)
    return None


async def context_shift(asker: Asker, needle: Needle, subject: Subject) -> FindingDocument | None:
    """Ask the longest prompt for an answer that the context has no room for."""
    announced, accepted = subject.announced, subject.accepted
    if announced.context is None or not announced.context - _LONG_ANSWER < accepted <= announced.context:
        return None  # there is room for the answer; or there is more of it than was announced
    probe = await asker.ask(ContextQuestion("accepted", accepted, needle, _LONG_ANSWER, _SHIFT))
    made = (probe.usage_tokens or probe.prompt_tokens) + (probe.completion_tokens or 0)
    if probe.refusal or made <= announced.context:
        return None
    told: dict[str, Value] = {"context": announced.context, "prompt_tokens": probe.prompt_tokens}
    return FindingDocument(code="context_shift", values={**told, "answer_tokens": probe.completion_tokens})


async def shared_pool(asker: Asker, needle: Needle, subject: Subject) -> FindingDocument | None:
    """Ask two prompts at once that are more than one slot's context together: one pool for all slots fails them."""
    announced, accepted = subject.announced, subject.accepted
    if not announced.slots or announced.slots == 1 or announced.context is None:
        return None
    length = round(_TWO_SHARE * accepted)
    told = {"announced": announced.context, "accepted": accepted, "slots": announced.slots, "together": 2 * length}
    for first in range(_POOL, _POOL + 2 * _PAIRS, 2):
        if subject.spent():
            break
        questions = [ContextQuestion("accepted", length, needle, _LONGER_ANSWER, first + place) for place in range(2)]
        both = await asker.ask_together(questions)
        if any(probe.refusal and probe.refusal.code in ("context_exceeded", "out_of_memory") for probe in both):
            return FindingDocument(code="unified_pool_exceeded", values=dict(told))
        if max(probe.total_s or 0.0 for probe in both) > _QUICK_S:
            break
    return None


_LOSSES: tuple[tuple[RefusalCode, FindingCode], ...] = (
    ("server_gone", "server_died"),
    ("out_of_memory", "out_of_memory"),
)
_TWICE, _SHIFT, _POOL = 10, 20, 30
"""Numbers of questions that the search for the longest prompt does not ask."""
_PAIRS, _QUICK_S = 5, 0.3
"""A server that answers so quickly may be done with one prompt before it looks at the other: it is asked again."""


def findings_in(
    probes: Sequence[ProbeDocument], accepted: LimitDocument | None, announced: Announced, answer_tokens: int
) -> Iterator[FindingDocument]:
    """What the probes themselves show."""
    if cut := [probe for probe in probes if probe.cut]:
        least = min(cut, key=lambda probe: probe.length)
        yield FindingDocument(
            code="silent_truncation", values={"length": least.prompt_tokens, "usage_tokens": least.usage_tokens}
        )
    for code, name in _LOSSES:
        lost = [probe.length for probe in probes if probe.refusal and probe.refusal.code == code]
        if lost:
            yield FindingDocument(code=name, values={"tokens": min(lost), "times": len(lost)})
    context = announced.context
    ended = accepted is not None and accepted.reason.code in ("refused", "cut")
    if accepted and ended and context is not None and accepted.tokens not in (context - 1, context):
        yield FindingDocument(code="announced_differs", values={"announced": context, "accepted": accepted.tokens})
    asked = [probe for probe in probes if probe.needle and probe.refusal is None]
    if asked:
        yield from _about_answers(asked, answer_tokens)


def _about_answers(asked: Sequence[ProbeDocument], answer_tokens: int) -> Iterator[FindingDocument]:
    shortest = min(probe.length for probe in asked)
    there = [probe for probe in asked if probe.length == shortest]
    share = sum(probe.found for probe in there) / sum(probe.facts for probe in there)
    if share < _WEAK:
        yield FindingDocument(code="weak_at_shortest", values={"share": round(share, 4), "length": shortest})
    ended = [probe for probe in asked if (probe.completion_tokens or 0) >= answer_tokens]
    if ended:
        yield FindingDocument(code="answers_cut", values={"share": round(len(ended) / len(asked), 4)})
