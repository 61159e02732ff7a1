"""An evaluation in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmbench.core.text_cells import columns, shorten
from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.evaluation.findings import (
    Document,
    comparison_rows,
    forgetting_lines,
    heading,
    remarks,
    score_rows,
    side_by_side,
)
from pytest_llmbench.reports.tables import boxed, wrapped

_ANSWER_CELLS = 84


def terminal_lines(document: Document, say: Words) -> list[str]:
    """Scores, differences with their verdicts, forgetting, and some answers side by side."""
    scores = score_rows(document, say)
    compared = comparison_rows(document, say)
    lines = [say("title", test_set=document["metadata"]["test_set"]), *wrapped(heading(document, say)), ""]
    lines += [say("scores"), *boxed(scores[:1], scores[1:]), *wrapped(remarks(document, say)), ""]
    if compared:
        lines += [say("comparisons", alpha=document["metadata"]["alpha"])]
        lines += ["  ".join(cells).rstrip() for cells in columns(compared)]
        lines += [say("positive"), ""]
    if forgotten := forgetting_lines(document, say):
        lines += [say("forgetting"), *wrapped(f"  {line}" for line in forgotten), ""]
    return [*lines, say("answers"), *_answers(document, say)]


def _answers(document: Document, say: Words) -> Iterator[str]:
    for result in side_by_side(document):
        yield f"  {say('question')}: {shorten(result['question'], _ANSWER_CELLS)}"
        facts = [(say("reference"), result["reference"] or "-")]
        facts += [(variant, answer["text"] or "-") for variant, answer in result["answers"].items()]
        for (name,), (_, text) in zip(columns([[name] for name, _ in facts]), facts, strict=True):
            yield f"    {name}  {shorten(text, _ANSWER_CELLS)}"
