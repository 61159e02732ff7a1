"""A run that was not judged, in Markdown: what it describes, and that it tests nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.cautions import cautions
from pytest_llmbench.reports.judgement import opening
from pytest_llmbench.reports.markdown_cases import case_block
from pytest_llmbench.reports.markdown_text import code, details, left_out, prose, table
from pytest_llmbench.reports.score_remarks import about_scores
from pytest_llmbench.runs.averages import compared
from pytest_llmbench.runs.comparison import (
    Change,
    Comparison,
    adapters,
    average,
    compare,
    compared_metrics,
    leading_metric,
)

_MOST_VARIANTS = 8
_MOST_METRICS = 20
_MOST_CATEGORIES = 50
_MOVED = 3


def description(document: Mapping[str, Any], say: Words) -> Iterator[str]:
    """What can be said first, the means, the categories, and where each adapter gained and lost most."""
    shown = adapters(document)[:_MOST_VARIANTS]
    model = document["metadata"]["base_model"] or say("unknown")
    yield f"### {prose(say('markdown_description', model=model))}"
    told = [*opening(document, say), *about_scores(document, say), *cautions(document, say)]
    yield "\n".join(f"- {prose(line)}" for line in told)
    yield _means(document, say)
    yield prose(say("description_only", count=document["statistics"]["cases"]))
    for variant in shown or document["metadata"]["variants"][:1]:
        yield _categories(document, variant, say)
    for variant in shown:
        comparison = compare(document, variant)
        if comparison is not None:
            yield _moved(comparison, say)


def _means(document: Mapping[str, Any], say: Words) -> str:
    totals, names = document["statistics"], document["metadata"]["variants"][: _MOST_VARIANTS + 1]
    base, tuned = compared(names)
    paired = base is not None and tuned is not None
    rows = []
    for metric in compared_metrics(document)[:_MOST_METRICS]:
        means = {name: average(totals, metric, name) for name in names}
        rows.append([prose(say.metric(metric)), *map(say.number, means.values())])
        if paired:
            rows[-1].append(say.number(_difference(means[base], means[tuned]), signed=True))
    return table([say("metric"), *map(code, names), *([say("difference")] if paired else [])], rows, names=1)


def _difference(base: float | None, tuned: float | None) -> float | None:
    return None if base is None or tuned is None else tuned - base


def _categories(document: Mapping[str, Any], variant: str, say: Words) -> str:
    """The leading metric in each category, the lowest first where there are too many to show."""
    metric = leading_metric(document, variant)
    if metric is None:
        return ""
    base, _ = compared(document["metadata"]["variants"])
    names = [name for name in (base, variant) if name is not None]
    found = [
        (category, block["total_tests"], [average(block, metric, name) for name in dict.fromkeys(names)])
        for category, block in document["by_category"].items()
    ]
    if len(found) > _MOST_CATEGORIES:
        found.sort(key=lambda item: (item[2][-1] is None, item[2][-1]))
    rows = [
        [code(category), str(total), *map(say.number, means)] for category, total, means in found[:_MOST_CATEGORIES]
    ]
    header = [say("category"), say("results"), *map(code, dict.fromkeys(names))]
    title = say("gate_labelled", label=say("markdown_categories"), text=f"{prose(say.metric(metric))}, {code(variant)}")
    return details(title, table(header, rows, names=1) + left_out(len(found) - _MOST_CATEGORIES, say))


def _moved(comparison: Comparison, say: Words) -> str:
    changes = [*comparison.improvements(_MOVED), *comparison.losses(_MOVED)]

    def block(change: Change) -> str:
        pair = (comparison.base, comparison.tuned)
        return case_block(change.row["case"], (change.base, change.tuned), change.row, pair, say)

    if not changes:
        return ""
    shown = f"{prose(say.metric(comparison.metric))}, {code(comparison.tuned)}"
    return details(say("gate_labelled", label=say("markdown_moved"), text=shown), "\n".join(map(block, changes)))
