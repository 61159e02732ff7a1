"""The tables of the text report: overall, by category, timing, every case."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmbench.core.text_cells import shorten_middle
from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.call_faults import METRIC as CALLS
from pytest_llmbench.reports.phases import phases
from pytest_llmbench.reports.score_remarks import about_scores, batched_speed, cosine_meanings
from pytest_llmbench.reports.tables import aligned, boxed, wrapped
from pytest_llmbench.runs.averages import Row, compared, mean
from pytest_llmbench.runs.comparison import average, compared_metrics, relative

_CASE_CELLS = 30
_CATEGORY_CELLS = 28
_VARIANT_CELLS = 14
_SHORT_TITLES = {
    "relevance": "short_relevance",
    "keywords": "short_keywords",
    "tool_accuracy": "short_tool",
    "call_accuracy": "short_calls",
    "cosine_similarity": "short_cosine",
}

Column = tuple[str, str]
"""A metric and the variant that it scored."""


def counts_text(document: Mapping[str, Any], say: Words) -> str:
    """How many cases, categories and results the run has."""
    totals, categories = document["statistics"], len(document["by_category"])
    return say("counts_value", cases=totals["cases"], categories=categories, results=totals["total_tests"])


def overall(document: Mapping[str, Any], say: Words) -> list[str]:
    """Every metric of every variant over the whole run, with the change from base to first adapter."""
    totals, names = document["statistics"], document["metadata"]["variants"]
    change_titles = [say("difference"), say("relative")] if None not in compared(names) else []
    rows = []
    for metric in compared_metrics(document):
        items = totals["metrics"][metric].values()
        counts = dict.fromkeys(f"{item['scored']}/{item['scored'] + item['unscored']}" for item in items)
        means = {name: average(totals, metric, name) for name in names}
        rows.append([say.metric(metric), *_means_and_change(means, say), ", ".join(counts)])
    header = [say("metric"), *(shorten_middle(name, _VARIANT_CELLS) for name in names), *change_titles, say("scored")]
    return [*boxed([header], rows), *wrapped(_remarks(document, say))]


def _means_and_change(means: Mapping[str, float | None], say: Words) -> list[str]:
    base, tuned = compared(tuple(means))
    cells = [say.number(value) for value in means.values()]
    return cells if base is None or tuned is None else [*cells, *_change(means[base], means[tuned], say)]


def _change(base: float | None, tuned: float | None, say: Words) -> list[str]:
    difference = None if base is None or tuned is None else tuned - base
    return [say.number(difference, signed=True), say.percent(relative(base, tuned), signed=True)]


def _remarks(document: Mapping[str, Any], say: Words) -> Iterator[str]:
    totals = document["statistics"]
    yield from about_scores(document, say)
    yield say("unscored_note")
    for metric, by_variant in totals["metrics"].items():
        for variant, item in by_variant.items():
            if item["unscored"]:
                counts = {"unscored": item["unscored"], "total": item["scored"] + item["unscored"]}
                yield say("unscored", metric=say.metric(metric), variant=variant, **counts)
    yield from cosine_meanings(document, say)


def by_category(document: Mapping[str, Any], say: Words) -> list[str]:
    """One row a category and one over all: means of the main metrics, and the relative change of relevance."""
    columns = _columns(document)
    compared_names = [name or "" for name in compared(document["metadata"]["variants"])]

    def line(name: str, block: Mapping[str, Any]) -> list[str]:
        cells = [say.number(average(block, *column)) for column in columns]
        change = relative(*(average(block, "relevance", variant) for variant in compared_names))
        return [
            shorten_middle(name, _CATEGORY_CELLS),
            str(block["total_tests"]),
            *cells,
            say.percent(change, signed=True),
        ]

    lines = [line(category, block) for category, block in document["by_category"].items()]
    total = line(say("all"), document["statistics"])
    header = _header([say("category"), say("results")], columns, say("short_relevance"), say)
    header[1][-1] = say("short_change")
    note = say("category_note_calls" if any(metric == CALLS for metric, _ in columns) else "category_note")
    return [*boxed(header, lines, [total]), *wrapped([note])]


def every_case(document: Mapping[str, Any], say: Words) -> list[str]:
    """One row a result."""
    columns = _columns(document)

    def cell(row: Row, metric: str, variant: str) -> str:
        return say.number(row["scores"].get(metric, {}).get(variant))

    rows = [
        [case_name(row, _CASE_CELLS), *(cell(row, *column) for column in columns), say.outcome(row["outcome"])]
        for row in document["results"]
    ]
    return boxed(_header([say("case")], columns, say("outcome"), say), rows)


def case_name(row: Row, width: int) -> str:
    """The pytest id in at most `width` cells; a repetition carries its number."""
    return shorten_middle(row["case"], width) + (f" #{row['epoch']}" if row["epoch"] else "")


def _columns(document: Mapping[str, Any]) -> list[Column]:
    applied = document["statistics"]["metrics"]
    return [(metric, variant) for metric in _SHORT_TITLES for variant in applied.get(metric, ())]


def _header(first: Sequence[str], columns: Sequence[Column], last: str, say: Words) -> list[list[str]]:
    """Two lines of titles: the metrics, and under them the variants."""
    metrics = [say(_SHORT_TITLES[metric]) for metric, _ in columns]
    variants = [shorten_middle(variant, _VARIANT_CELLS) for _, variant in columns]
    return [[*first, *metrics, last], [*("" for _ in first), *variants, ""]]


def timing(document: Mapping[str, Any], say: Words) -> list[str]:
    """How long each variant's answers took and how they ended, then the phases of the run."""
    rows = [
        _timing_row(variant, counts, document["results"], say)
        for variant, counts in document["statistics"]["answers"].items()
    ]
    titles = ["variant", "answers", "cached", "latency_median", "latency_max", "speed", "tokens"]
    header = [say(key) for key in (*titles, "at_limit", "timeouts", "errors")]
    return [
        *boxed([header], rows),
        *wrapped([say("timing_note"), *batched_speed(document, say)]),
        *aligned([(name, say.number(seconds)) for name, seconds in phases(document, say)]),
    ]


def _timing_row(variant: str, counts: Mapping[str, int], rows: Sequence[Row], say: Words) -> list[str]:
    answers = [row["completions"][variant] for row in rows if variant in row["completions"]]
    latencies = [answer["latency_s"] for answer in answers if answer["latency_s"] is not None]
    speed = mean(answer["tokens_per_s"] for answer in answers)
    taken: tuple[Callable[[list[float]], float], ...] = (statistics.median, max)
    return [
        shorten_middle(variant, _CATEGORY_CELLS),
        str(counts["total"]),
        str(counts["cached"]),
        *(say.number(take(latencies) if latencies else None) for take in taken),
        say.number(speed),
        *(str(counts[key]) for key in ("completion_tokens", "length", "timeout", "error")),
    ]
