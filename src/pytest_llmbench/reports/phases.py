"""Where a run's time went: its phases, and what none of them accounts for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.reports.wording import Words

_TOTAL = "total_s"
_WITHIN = {"generation_s": "answering_s"}
"""A phase that is part of another one: it is shown, and not counted twice."""


def phases(document: Mapping[str, Any], say: Words) -> Iterator[tuple[str, float | None]]:
    """Seconds by phase in the reader's words: the total, its parts, parts of parts, and the rest."""
    timings: Mapping[str, float | None] = document["metadata"].get("timings") or {}
    total, counted = timings.get(_TOTAL), 0.0
    if _TOTAL in timings:
        yield say("phase_total_s"), total
    for name, seconds in timings.items():
        if name == _TOTAL:
            continue
        inside = _WITHIN.get(name) in timings
        counted += 0.0 if inside else seconds or 0.0
        label = say.texts.get(f"phase_{name}", name.removesuffix("_s"))
        yield (f"    {label}" if inside else f"  {label}"), seconds
    if total is not None and len(timings) > 1:
        yield f"  {say('phase_rest')}", max(total - counted, 0.0)
