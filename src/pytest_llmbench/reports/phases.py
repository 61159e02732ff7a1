"""Where a run's time went: its phases, and what none of them accounts for."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmbench.core.locale import N_, Words
from pytest_llmbench.runs.typed import RunDocument

_PARTS = {
    "load_s": N_("loading"),
    "generation_s": N_("generation"),
    "scoring_s": N_("scoring"),
}

_TOTAL = "total_s"
_NOT_PARTS = {_TOTAL, "other_s", "answering_s"}
"""The rest is counted here; runs that tell of `answering_s` count generation in it."""


def phases(document: RunDocument, say: Words) -> Iterator[tuple[str, float | None]]:
    """Seconds by phase in the reader's words: the total, its parts, and the rest, so that the parts add up to it."""
    timings = document.metadata.timings
    total = timings.get(_TOTAL)
    parts = {name: seconds for name, seconds in timings.items() if name not in _NOT_PARTS}
    if total is not None:
        yield say("the whole session"), total
    for name, seconds in parts.items():
        yield f"  {say(_PARTS[name]) if name in _PARTS else name.removesuffix('_s')}", seconds
    if total is not None and parts:
        yield (
            "  " + say("the rest (start, collection, tests, reports)"),
            max(total - sum(filter(None, parts.values())), 0.0),
        )
