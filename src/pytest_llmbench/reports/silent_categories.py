"""Categories of which a gate shows nothing: one sentence for all of them, instead of a row each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pytest_llmbench.core.locale import Words
from pytest_llmbench.runs.typed import GateDocument, VerdictDocument


def is_silent(verdict: VerdictDocument, gate: GateDocument) -> bool:
    """Whether the verdict is of a category and open, and its effect no fall by more than its margin.

    A comparison alarms nobody: there every open category is silent, but for those in doubt, which its reason counts.
    """
    if verdict.category is None or verdict.outcome != "inconclusive" or verdict.in_doubt:
        return False
    gain = verdict.effect if verdict.higher_is_better else -verdict.effect
    return bool(gate.kind == "compare" or gain >= -verdict.margin)


def telling(verdicts: Iterable[VerdictDocument], gate: GateDocument) -> list[VerdictDocument]:
    """The verdicts that deserve a row."""
    return [verdict for verdict in verdicts if not is_silent(verdict, gate)]


def silence(gate: GateDocument, say: Words) -> str | None:
    """How many questions by category are open, metric by metric; None where none is left out."""
    by_category = [verdict for verdict in gate.verdicts if verdict.category is not None]
    asked = Counter(verdict.metric for verdict in by_category)
    silent = Counter(verdict.metric for verdict in by_category if is_silent(verdict, gate))
    if not silent:
        return None
    metrics = [
        say("{metric} in {count} of {total}", metric=say.metric(metric), count=count, total=asked[metric])
        for metric, count in silent.items()
    ]
    return say(
        "Category by category nothing is shown for {count} of {total} questions: {metrics}. They have too few "
        "cases, or changed too little.",
        count=silent.total(),
        total=asked.total(),
        metrics=", ".join(metrics),
    )
