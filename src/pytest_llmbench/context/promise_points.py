"""What prompts of several lengths say of a latency promise: seconds of those that came, a count of those that did not.

A prompt that timed out was late, and nobody knows how late: it is no point of a line through the seconds, and counts
among the late answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.stats.binomial import at_least
from pytest_llmbench.stats.crossing import Crossing, crossing
from pytest_llmbench.stats.intervals import CONFIDENCE
from pytest_llmbench.stats.late_shares import Kept, kept

if TYPE_CHECKING:
    from pytest_llmbench.runs.context_document import ProbeDocument, PromiseDocument

Points = Sequence[tuple[float, float]]
"""Lengths as the server read them, and the seconds of what is promised."""


def timed_points(probes: Iterable[ProbeDocument], promise: PromiseDocument) -> list[tuple[float, float]]:
    """Of each probe whose promised moment came, the length that the server read, and the seconds to it."""
    return [point for probe in probes if (point := _point(probe, promise))]


def timed_out(probes: Iterable[ProbeDocument], promise: PromiseDocument) -> list[int]:
    """The lengths of the prompts that were waited for in vain."""
    return [probe.length for probe in probes if is_lost(probe, promise)]


def is_lost(probe: ProbeDocument, promise: PromiseDocument) -> bool:
    """Whether its time-out came before the promised moment."""
    return _is_timed_out(probe) and _point(probe, promise) is None


def promise_crossing(
    points: Points, lost: Sequence[float], promise: PromiseDocument, longest: float, confidence: float = CONFIDENCE
) -> Crossing | None:
    """The length at which the promise is no longer kept; None where the points show no such length.

    A line that surely keeps it up to `longest` shows none where the answers up to there are late too often; nor does
    any that takes lengths to be in time at which surely too many prompts are late, the `lost` among them.
    """
    found = crossing(points, promise.latency_s, promise.quantile)
    if found and found.low >= longest and counted(points, lost, promise).late < math.inf:
        return None
    if found and _breaks_before(found.low, points, lost, promise):
        return None
    return found if confidence == CONFIDENCE else crossing(points, promise.latency_s, promise.quantile, confidence)


def counted(points: Points, lost: Sequence[float], promise: PromiseDocument) -> Kept:
    """How far the promise is kept by the number of late answers."""
    return kept(_all(points, lost), promise.latency_s, promise.quantile)


def _breaks_before(length: float, points: Points, lost: Sequence[float], promise: PromiseDocument) -> bool:
    """Whether time-outs show that surely too many prompts shorter than this are late: all together, or of a length."""
    if not lost or min(lost) >= length:
        return False
    before = [cost > promise.latency_s for size, cost in _all(points, lost) if size < length]
    together = at_least(sum(before), len(before), 1 - promise.quantile) <= (1 - CONFIDENCE) / 2
    return bool(together) or counted(points, lost, promise).surely_late < length


def _all(points: Points, lost: Sequence[float]) -> list[tuple[float, float]]:
    return [*points, *((length, math.inf) for length in lost)]


def _point(probe: ProbeDocument, promise: PromiseDocument) -> tuple[float, float] | None:
    """An answer without text ends the wait for its first token; one that was cut by its time-out may have begun."""
    if probe.refusal is not None and not _is_timed_out(probe):
        return None
    seconds = probe.first_token_s if promise.latency == "first_token" else None
    if seconds is None and probe.refusal is None:
        seconds = probe.total_s
    return (probe.usage_tokens or probe.prompt_tokens, seconds) if seconds else None


def _is_timed_out(probe: ProbeDocument) -> bool:
    return probe.refusal is not None and probe.refusal.code == "timeout"
