"""Runs in the shape that comparisons read, from tables of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.runs.baseline import Comparable

Scores = Sequence[Sequence[float | None] | float | None]
"""One entry a case: a score, or one for each epoch."""


def compared(scores: Mapping[str, Scores] | Scores, *, categories: int = 1, name: str = "run", **metadata: Any) -> Any:
    """A run with the base and one fine-tune, the same scores for each; relevance unless told by metric."""
    by_metric: Mapping[str, Scores] = scores if isinstance(scores, Mapping) else {"relevance": scores}
    variants = metadata.setdefault("variants", ["base", "finetuned"])
    rows: dict[tuple[int, int], Any] = {}
    for metric, cases in by_metric.items():
        for case, epochs in enumerate(cases):
            for epoch, score in enumerate(epochs if isinstance(epochs, Sequence) else [epochs]):
                category = f"c{case % categories}"
                row = {
                    "case": f"{category}/{case}",
                    "category": category,
                    "epoch": epoch,
                    "prompt_sha": "a",
                    "scores": {},
                }
                rows.setdefault((case, epoch), row)["scores"][metric] = dict.fromkeys(variants, score)
    return Comparable(name, {"timestamp": "2026-02-18T10:00:00+00:00", **metadata}, [rows[key] for key in sorted(rows)])


def kinds(gate: Mapping[str, Any]) -> list[str]:
    """What its notes are about."""
    return [note["kind"] for note in gate["notes"]]
