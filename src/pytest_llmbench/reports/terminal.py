"""The short table at the end of a pytest run: no wider than the terminal, in characters that every one has."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from pytest_llmbench.core.records import BASE
from pytest_llmbench.core.text_cells import columns, one_line, shorten_middle
from pytest_llmbench.core.wording import UNSCORED, Words, words
from pytest_llmbench.reports.cautions import about_answers
from pytest_llmbench.reports.judgement import beside_the_gate, cut_short, verdict_sentences
from pytest_llmbench.reports.score_remarks import cut_answers
from pytest_llmbench.runs.comparison import adapters, average

_TITLES = {
    "relevance": "relevance",
    "keywords": "keywords",
    "tool_accuracy": "tool",
    "call_accuracy": "calls",
    "cosine_similarity": "cosine",
}
_GAP = "  "
_LEAST_NAME_CELLS = 8


def summary_lines(document: Mapping[str, Any], paths: Mapping[str, Path], width: int) -> list[str]:
    """The verdict against the base, scores by category and overall, what the answers took, and where the reports are.

    One table an adapter, base and adapter side by side; one table a variant where there is no base. `paths` maps a
    kind of report to its file.
    """
    say, variants = words("en"), document["metadata"]["variants"]
    pairs: list[tuple[str, ...]] = [(BASE, variant) for variant in adapters(document)]
    lines = [line for text in _first(document, say) for line in textwrap.wrap(text, width)]
    lines += [""] if lines else []
    for shown in pairs or [(variant,) for variant in variants]:
        lines += [one_line(" -> ".join(shown)), *_table(document, shown, width), ""]
    sentences = [*cut_answers(document, say), *about_answers(document, say), *_unscored(document), *_effort(document)]
    lines += [line for text in sentences for line in textwrap.wrap(text, width)]
    label = max((len(kind) for kind in paths), default=0)
    return [*lines, *(f"{kind:<{label}}{_GAP}{path}" for kind, path in paths.items())]


def _first(document: Mapping[str, Any], say: Words) -> list[str]:
    """The comparison with the base, where the gate, which has a section of its own, has not told it."""
    if document["gate"] is None or beside_the_gate(document):
        return verdict_sentences(document, say)
    part = cut_short(document, say)
    return [part] if part else []


def _table(document: Mapping[str, Any], variants: Sequence[str], width: int) -> list[str]:
    metrics = [name for name in _TITLES if name in document["statistics"]["metrics"]]
    rows = [["category", "n", *(_TITLES[metric] for metric in metrics)]]
    blocks = list(document["by_category"].items())
    for title, block in [*blocks, ("all", document["statistics"])]:
        cells = [_cell(block, metric, variants) for metric in metrics]
        rows.append([title, str(block["total_tests"]), *cells])
    return [_GAP.join(cells).rstrip() for cells in columns(_fitting(rows, width))]


def _fitting(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The rows with as many columns as `width` holds and the names cut to the rest."""
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    kept = len(widths)

    def left_for_name() -> int:
        return width - sum(widths[1:kept]) - len(_GAP) * (kept - 1)

    while kept > 2 and left_for_name() < min(widths[0], _LEAST_NAME_CELLS):  # noqa: PLR2004  the name and the count stay
        kept -= 1
    return [[shorten_middle(row[0], max(left_for_name(), _LEAST_NAME_CELLS), "..."), *row[1:kept]] for row in rows]


def _cell(block: Mapping[str, Any], metric: str, variants: Sequence[str]) -> str:
    """`0.220 -> 0.467`; a metric of pairs has one value."""
    values = [average(block, metric, variant) for variant in variants if variant in block["metrics"].get(metric, {})]
    known = values if any(value is not None for value in values) else []
    return " -> ".join(map(words("en").number, known)) or UNSCORED


def _unscored(document: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for all that has no score, so that a mean over few is not taken for one over all."""
    missing = [
        f"{metric} of {variant} {item['unscored']}/{item['scored'] + item['unscored']}"
        for metric, by_variant in document["statistics"]["metrics"].items()
        for variant, item in by_variant.items()
        if item["unscored"]
    ]
    if missing:
        yield f"unscored, left out of the means: {', '.join(missing)}"


def _effort(document: Mapping[str, Any]) -> Iterator[str]:
    """Answers, seconds, tokens a second and cache hits; speed counts only what was generated in this run."""
    answers = document["statistics"]["answers"].values()
    timings = document["metadata"].get("timings", {})
    seconds, generating = timings.get("total_s"), timings.get("generation_s")
    tokens = sum(item["generated_tokens"] for item in answers)
    parts = [f"{sum(item['total'] for item in answers)} answers" + (f" in {seconds:.1f} s" if seconds else "")]
    if tokens and generating:
        parts.append(f"{tokens / generating:.1f} tokens/s")
    parts.append(f"{sum(item['cached'] for item in answers)} from the cache")
    yield ", ".join(parts)
