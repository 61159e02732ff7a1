"""An evaluation as a Markdown page: the tables, and the same questions with each variant's answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmbench.core.wording import Words
from pytest_llmbench.reports.evaluation.findings import (
    Document,
    Rows,
    comparison_rows,
    forgetting_lines,
    heading,
    remarks,
    score_rows,
    side_by_side,
)
from pytest_llmbench.reports.markdown_text import code, prose, table

_ANSWER_CELLS = 400


def page(document: Document, say: Words, figure: str | None) -> str:
    """The whole page; `figure` is the file name of the figure beside it."""
    parts = [f"# {prose(say('title', test_set=document['metadata']['test_set']))}", *map(prose, heading(document, say))]
    parts += [f"## {say('scores')}", _table(score_rows(document, say), names=1), *map(prose, remarks(document, say))]
    if compared := comparison_rows(document, say):
        parts += [
            f"## {say('comparisons', alpha=document['metadata']['alpha'])}",
            say("positive"),
            _table(compared, names=2),
        ]
    if figure:
        parts.append(f"![{say('effect')}]({figure})")
    if forgotten := forgetting_lines(document, say):
        parts += [f"## {say('forgetting')}", "\n".join(f"- {prose(line)}" for line in forgotten)]
        parts += _qualitative(document["forgetting"]["answers"], say)
    parts += [f"## {say('answers')}", *_qualitative(side_by_side(document), say)]
    return "\n\n".join(parts) + "\n"


def _qualitative(results: list[Mapping[str, Any]], say: Words) -> Iterator[str]:
    for result in results:
        rows = [(say("reference"), result["reference"])] if result.get("reference") else []
        rows += [(variant, _text(answer)) for variant, answer in result["answers"].items()]
        yield f"**{say('question')}**: {code(result['question'], _ANSWER_CELLS)}"
        yield table(["", say("answers")], [[prose(name), code(text, _ANSWER_CELLS)] for name, text in rows], names=2)


def _text(answer: str | Mapping[str, Any]) -> str:
    return answer if isinstance(answer, str) else str(answer["text"])


def _table(rows: Rows, *, names: int) -> str:
    ready = [[prose(one) for one in row] for row in rows]
    return table(ready[0], ready[1:], names=names)
