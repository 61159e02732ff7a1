"""The words of the figure's summary panel: aligned lines for a fixed-width font."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.text_cells import columns, shorten, shorten_middle
from pytest_llmbench.reports.cautions import lost_answers
from pytest_llmbench.reports.recommendations import change_line
from pytest_llmbench.reports.score_remarks import cut_answers
from pytest_llmbench.runs.comparison import compared_metrics
from pytest_llmbench.runs.typed import RunDocument

WIDTH = 66
_MOST_METRICS = 9
_MOST_VARIANTS = 3
_MOST_GAINS = 2
_FACT_CELLS = 46
_NAME_CELLS = 12
_LABEL_CELLS = 32


def summary_text(document: RunDocument, say: Words) -> str:
    """Model, counts, the mean of each metric a variant, each adapter's change, and which answers were lost or cut."""
    blocks = [_facts(document, say), _means(document, say), *_gains(document, say), _notes(document, say)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _facts(document: RunDocument, say: Words) -> list[str]:
    metadata = document.metadata
    facts = [
        (say("Base model"), metadata.base_model),
        (say("LoRA adapter"), metadata.lora_adapter),
        (say("Device"), metadata.device),
    ]
    known = [(name, shorten_middle(str(value), _FACT_CELLS)) for name, value in facts if value]
    totals, categories = document.statistics, len(document.by_category)
    counts = say(
        "{cases} (categories: {categories}, results: {results})",
        cases=totals.cases,
        categories=categories,
        results=totals.total_tests,
    )
    known.append((say("Cases"), counts))
    names = columns([[name] for name, _ in known])
    return [f"{name} : {value}" for (name,), (_, value) in zip(names, known, strict=True)]


def _means(document: RunDocument, say: Words) -> list[str]:
    totals, names = document.statistics, document.variants[:_MOST_VARIANTS]
    rows = [["", *(shorten_middle(name, _NAME_CELLS) for name in names)]]
    for metric in compared_metrics(document)[:_MOST_METRICS]:
        means = [totals.mean(metric, name) for name in names]
        rows.append([shorten(say.metric(metric), _LABEL_CELLS), *map(say.number, means)])
    return ["  ".join(cells) for cells in columns(rows)] if len(rows) > 1 else [say("Nothing scored")]


def _gains(document: RunDocument, say: Words) -> Iterator[list[str]]:
    for variant in document.adapters[:_MOST_GAINS]:
        yield _wrapped(change_line(document, variant, say))


def _notes(document: RunDocument, say: Words) -> list[str]:
    """What the means leave out, and what depresses them."""
    told = [*lost_answers(document.answers, say), *cut_answers(document, say)]
    return [line for sentence in told[:_MOST_GAINS] for line in _wrapped(sentence)]


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, WIDTH)
