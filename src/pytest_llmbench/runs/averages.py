"""Means over result rows. What is unscored is left out and counted, never taken for zero."""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.records import BASE
from pytest_llmbench.runs.typed import AskedCases, RunDocument, RunPoint

Row = Mapping[str, Any]
"""One entry of a document's `results`."""

_COUNTS = (
    "total",
    "cached",
    "completion_tokens",
    "generated_tokens",
    "stop",
    "length",
    "timeout",
    "error",
)
_TWO_WAY = {
    "avg_cosine_similarity": "cosine_similarity_score",
    "avg_keyword_match_base": "keyword_match_base",
    "avg_keyword_match_finetuned": "keyword_match_finetuned",
    "avg_relevance_base": "relevance_base",
    "avg_relevance_finetuned": "relevance_finetuned",
}
"""The reference's means, by the keys of rows that they are over."""


def compared(variants: Sequence[str]) -> tuple[str | None, str | None]:
    """The two names behind the two-way keys: the base, and the first adapter; None for one that is absent."""
    base = BASE if BASE in variants else None
    return base, next((name for name in variants if name != BASE), None)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is scored, or None where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def keywords_found(row: Row, variant: str | None) -> int | None:
    """How many of the expected keywords the variant's answer holds; None where that was not scored."""
    share, expected = row["scores"].get("keywords", {}).get(variant), len(row["keywords_expected"])
    return round(share * expected) if share is not None and expected else None


class Summary:
    """The statistics of some rows, taken in one by one: of each no more than its scores is kept."""

    def __init__(self, variants: Sequence[str]) -> None:
        self._scores: dict[tuple[str, str], array[float]] = {}
        self._two_way = {key: array("d") for key in _TWO_WAY}
        self._answers = {variant: Counter[str]() for variant in variants}
        self._outcomes: Counter[str] = Counter()
        self._cases: set[str] = set()
        self.rows = 0

    def add(self, row: Row) -> None:
        """Take in one row."""
        self.rows += 1
        self._cases.add(row["case"])
        self._outcomes[row["outcome"]] += 1
        for metric, by_variant in row["scores"].items():
            for variant, score in by_variant.items():
                known = self._scores.setdefault((metric, variant), array("d"))
                if score is not None:
                    known.append(score)
        for key, values in self._two_way.items():
            if (value := row[_TWO_WAY[key]]) is not None:
                values.append(value)
        for variant, answer in row["completions"].items():
            if variant in self._answers:
                self._answers[variant].update(_counted(answer))

    def applied(self, variants: Sequence[str]) -> dict[str, list[str]]:
        """The variants that each metric was applied to, in the order of the run."""
        metrics = dict.fromkeys(metric for metric, _ in self._scores)
        return {metric: [name for name in variants if (metric, name) in self._scores] for metric in metrics}

    def told(self, applied: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The two-way keys, then every metric of every variant with its counts.

        `applied` comes from the summary of the whole run, so that each category shows the same metrics.
        """
        return {
            "total_tests": self.rows,
            "cases": len(self._cases),
            **{key: mean(values) for key, values in self._two_way.items()},
            "metrics": {
                metric: {variant: self._metric(metric, variant) for variant in names}
                for metric, names in applied.items()
            },
            "answers": {variant: {key: counts[key] for key in _COUNTS} for variant, counts in self._answers.items()},
            "outcomes": dict(sorted(self._outcomes.items())),
        }

    def _metric(self, metric: str, variant: str) -> dict[str, Any]:
        values = self._scores.get((metric, variant), ())
        return {"mean": mean(values), "scored": len(values), "unscored": self.rows - len(values)}


def _counted(answer: Row) -> dict[str, int]:
    tokens, cached = answer["completion_tokens"] or 0, answer["cached"]
    return {
        "total": 1,
        "cached": int(cached),
        "completion_tokens": tokens,
        "generated_tokens": 0 if cached else tokens,
        answer["finish"]: 1,
    }


def in_short(title: str, head: RunDocument) -> RunPoint:
    """A run as one point of a trend. Runs with the same `asked` asked and expected the same of the same cases.

    A mere comparison gates nothing and has no outcome.
    """
    variants: dict[str, dict[str, float | None]] = {name: {} for name in head.variants}
    scored: dict[str, dict[str, tuple[int, int]]] = {}
    for metric, by_variant in head.statistics.metrics.items():
        for variant, item in by_variant.items():
            variants.setdefault(variant, {})[metric] = item.mean
            scored.setdefault(variant, {})[metric] = item.scored, item.scored + item.unscored
    cases = {category: found.cases for category, found in head.by_category.items()}
    return RunPoint(
        name=title,
        timestamp=head.metadata.timestamp,
        variants=variants,
        outcome=None if head.gate is None or head.gate.kind == "compare" else head.gate.outcome,
        asked=AskedCases(sha256=head.metadata.cases_sha256, cases=cases),
        scored=scored,
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


@dataclasses.dataclass(frozen=True, slots=True)
class PartlyScored:
    """A mean in a trend that leaves answers out: those of `variant` in the run at `place`, `scored` of `expected`."""

    place: int
    variant: str
    scored: int
    expected: int


def partly_scored(points: Sequence[RunPoint], metric: str) -> Iterator[PartlyScored]:
    """The means that rest on fewer answers than the metric judges: others to the same cases have more.

    What a metric does not judge at all, such as a case without calls, is missing from no mean.
    """
    for line in comparable_lines(points):
        counts = {
            (place, variant): of[metric]
            for place in line
            for variant, of in points[place].scored.items()
            if metric in of
        }
        share = max((scored / asked for scored, asked in counts.values() if asked), default=0.0)
        for (place, variant), (scored, asked) in counts.items():
            if 0 < scored < (expected := round(share * asked)):
                yield PartlyScored(place, variant, scored, expected)
