"""Which means of a trend leave answers out, in words."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmbench.core.locale import Words
from pytest_llmbench.runs.averages import partly_scored
from pytest_llmbench.runs.comparison import LEADING_METRICS
from pytest_llmbench.runs.typed import RunPoint


def part_means(history: Sequence[RunPoint], say: Words) -> list[str]:
    """A sentence on the means of the metrics that judge, where some rest on a part of the answers; else none."""
    found = [
        f"{history[part.place].name} {part.variant} {say.metric(metric)} {part.scored}/{part.expected}"
        for metric in LEADING_METRICS
        for part in partly_scored(history, metric)
    ]
    if not found:
        return []
    return [
        say(
            "Means of a part of the answers, the others having no score (earlier builds counted an answer that ended "
            "in its thinking as an empty one): {found}",
            found=", ".join(found),
        )
    ]
