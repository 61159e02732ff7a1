"""The limits of a context run with the intervals of another confidence, worked out again from its own probes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmbench.context.promise_points import promise_crossing, timed_out, timed_points
from pytest_llmbench.context.right import Rightness, right_limit
from pytest_llmbench.core.setting_sections import ContextSettings
from pytest_llmbench.runs.context_document import ContextLimits
from pytest_llmbench.stats.intervals import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pytest_llmbench.runs.context_document import ContextTarget, LimitDocument, ProbeDocument

_STORED_ALPHA = round(1 - CONFIDENCE, 6)


def limits_at(target: ContextTarget, alpha: float, settings: Mapping[str, Any]) -> ContextLimits:
    """The limits whose intervals miss the truth with the chance `alpha`. `settings` are those of the run.

    What is accepted is exact, whatever the confidence. So stay the ends that rest on no spread of measurements: those
    of too few prompts, of refusals, of late answers that were counted, and of the range of lengths.
    """
    limits = target.limits
    changed: dict[str, LimitDocument] = {}
    if limits.in_time and alpha != _STORED_ALPHA:
        changed["in_time"] = _in_time(limits.in_time, target, alpha)
    if limits.right and alpha != _STORED_ALPHA:
        changed["right"] = _right(limits.right, target, alpha, settings)
    return limits.model_copy(update=changed)


def _in_time(limit: LimitDocument, target: ContextTarget, alpha: float) -> LimitDocument:
    timed = [probe for probe in target.probes if probe.sought in ("sweep", "in_time")]
    points = timed_points(timed, target.promise)
    answered = max((size for size, _ in points), default=0.0)
    lost = timed_out(timed, target.promise)
    found = promise_crossing(points, lost, target.promise, answered, 1 - alpha)
    if found is None or limit.reason.code == "refused":
        return limit
    shortest, longest = (end(probe.length for probe in timed) for end in (min, max))
    low = 0 if found.low < shortest else min(math.floor(found.low), limit.tokens)
    high = max(math.floor(found.high), shortest - 1, limit.tokens)
    return limit.model_copy(update={"low": low, "high": None if found.high >= longest else high})


def _right(limit: LimitDocument, target: ContextTarget, alpha: float, settings: Mapping[str, Any]) -> LimitDocument:
    by_length: dict[int, list[ProbeDocument]] = {}
    for probe in target.probes:
        if probe.sought == "sweep":
            by_length.setdefault(probe.length, []).append(probe)
    margin = settings.get("context", {}).get("margin", ContextSettings().margin)
    reaches = limit.tokens if limit.reason.code == "not_accepted" else None
    return right_limit(by_length, Rightness(margin, alpha), reaches) or limit
