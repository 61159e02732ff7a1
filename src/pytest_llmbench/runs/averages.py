"""Means over result rows. What is unscored is left out and counted, never taken for zero."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.records import BASE
from pytest_llmbench.runs.typed import AskedCases, RunDocument, RunPoint

Row = Mapping[str, Any]
"""One entry of a document's `results`."""

FINISHES = ("stop", "length", "timeout", "error")


def compared(variants: Sequence[str]) -> tuple[str | None, str | None]:
    """The two names behind the two-way keys: the base, and the first adapter; None for one that is absent."""
    base = BASE if BASE in variants else None
    return base, next((name for name in variants if name != BASE), None)


def scored_pairs(rows: Sequence[Row], variants: Sequence[str]) -> dict[str, list[str]]:
    """The variants that each metric was applied to, in the order of the run."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for metric, by_variant in row["scores"].items():
            found.setdefault(metric, set()).update(by_variant)
    return {metric: [name for name in variants if name in present] for metric, present in found.items()}


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is scored, or None where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def keywords_found(row: Row, variant: str | None) -> int | None:
    """How many of the expected keywords the variant's answer holds; None where that was not scored."""
    share, expected = row["scores"].get("keywords", {}).get(variant), len(row["keywords_expected"])
    return round(share * expected) if share is not None and expected else None


def summarise(rows: Sequence[Row], variants: Sequence[str], applied: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The statistics of some rows: the two-way keys, then every metric of every variant with its counts.

    `applied` comes from `scored_pairs` over the whole run, so that each category shows the same metrics.
    """
    return {
        "total_tests": len(rows),
        "cases": len({row["case"] for row in rows}),
        "avg_cosine_similarity": mean(row["cosine_similarity_score"] for row in rows),
        "avg_keyword_match_base": mean(row["keyword_match_base"] for row in rows),
        "avg_keyword_match_finetuned": mean(row["keyword_match_finetuned"] for row in rows),
        "avg_relevance_base": mean(row["relevance_base"] for row in rows),
        "avg_relevance_finetuned": mean(row["relevance_finetuned"] for row in rows),
        "metrics": {
            metric: {variant: _metric(rows, metric, variant) for variant in names} for metric, names in applied.items()
        },
        "answers": {variant: _answers(rows, variant) for variant in variants},
        "outcomes": dict(sorted(Counter(row["outcome"] for row in rows).items())),
    }


def in_short(title: str, head: RunDocument) -> RunPoint:
    """A run as one point of a trend. Runs with the same `asked` asked and expected the same of the same cases."""
    variants: dict[str, dict[str, float | None]] = {name: {} for name in head.variants}
    for metric, by_variant in head.statistics.metrics.items():
        for variant, item in by_variant.items():
            variants.setdefault(variant, {})[metric] = item.mean
    cases = {category: found.cases for category, found in head.by_category.items()}
    return RunPoint(
        name=title,
        timestamp=head.metadata.timestamp,
        variants=variants,
        outcome=None if head.gate is None else head.gate.outcome,
        asked=AskedCases(sha256=head.metadata.cases_sha256, cases=cases),
    )


def asked_alike(point: RunPoint, other: RunPoint) -> bool:
    """Whether two points of a trend can be compared. Older runs tell how many cases a category had, and no more."""
    one, two = point.asked, other.asked
    if one is None or two is None:
        return True
    return one.cases == two.cases if None in (one.sha256, two.sha256) else one.sha256 == two.sha256


def comparable_lines(points: Sequence[RunPoint]) -> list[list[int]]:
    """The places of points that can be compared, one list a line of a trend: it leads over others between them."""
    lines: list[list[int]] = []
    for place, point in enumerate(points):
        own = next((line for line in lines if asked_alike(points[line[-1]], point)), None)
        if own is None:
            lines.append([place])
        else:
            own.append(place)
    return lines


def _metric(rows: Sequence[Row], metric: str, variant: str) -> dict[str, Any]:
    values = [row["scores"].get(metric, {}).get(variant) for row in rows]
    scored = sum(value is not None for value in values)
    return {"mean": mean(values), "scored": scored, "unscored": len(rows) - scored}


def _answers(rows: Sequence[Row], variant: str) -> dict[str, int]:
    answers = [row["completions"][variant] for row in rows if variant in row["completions"]]
    finishes = Counter(answer["finish"] for answer in answers)
    return {
        "total": len(answers),
        "cached": sum(answer["cached"] for answer in answers),
        "completion_tokens": sum(answer["completion_tokens"] or 0 for answer in answers),
        "generated_tokens": sum(answer["completion_tokens"] or 0 for answer in answers if not answer["cached"]),
        **{finish: finishes[finish] for finish in FINISHES},
    }
