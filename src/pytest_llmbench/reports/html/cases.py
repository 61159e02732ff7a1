"""The cases as data for the page's script: short keys, every variant, words included."""

from __future__ import annotations

import base64
import gzip
import heapq
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.call_faults import calls_made, expected_calls_text, faults
from pytest_llmbench.reports.html.words import script_texts
from pytest_llmbench.reports.pairing import metrics_in_order
from pytest_llmbench.runs.comparison import higher_is_better, leading_metric
from pytest_llmbench.runs.typed import Result, RunDocument

PACKED_ABOVE = 2000
"""Rows that stand in the page as they are; more are compressed."""
MOST_SHOWN = 20_000
"""Rows of a page: more would open too slowly. The run's results have all of them."""
_BLOCK_ROWS = 1000
_ONE_DECIMAL_FROM, _DECIMALS = 100, 3  # as `Words.number` shows a number


def case_data(document: RunDocument, say: Words) -> dict[str, Any]:
    """What the script draws the table from. A row's scores follow the order of `metrics`, then of `variants`."""
    variants, metrics = document.variants, metrics_in_order(document)
    against = document.adapters or variants
    return {
        "variants": variants,
        "base": BASE if BASE in variants else None,
        "metrics": [
            {"name": name, "label": say.metric(name), "higher": higher_is_better(document, name)} for name in metrics
        ],
        "leading": next((name for one in against if (name := leading_metric(document, one))), None),
        "decimal": say.decimal_mark,
        "words": script_texts(say),
        "outcomes": {name: say.outcome(name) for name in document.statistics.outcomes},
        "timed": document.largest_batch == 1,
        **_rows(document, lambda row: _row(row, metrics, variants, say)),
    }


def _rows(document: RunDocument, row: Callable[[Result], dict[str, Any]]) -> dict[str, Any]:
    """The rows, compressed where they are many; of a large run some of them, and how many there are."""
    total = len(document.results)
    if total <= PACKED_ABOVE:
        return {"rows": [row(one) for one in document.results]}
    shown = range(total) if total <= MOST_SHOWN else _telling(document)
    blocks = (shown[at : at + _BLOCK_ROWS] for at in range(0, len(shown), _BLOCK_ROWS))
    packed = [_packed([row(document.results[place]) for place in block]) for block in blocks]
    return {"packed": packed, "total": total}


def _packed(rows: list[dict[str, Any]]) -> str:
    """Gzip in base64, which browsers unpack themselves."""
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()


def _telling(document: RunDocument) -> list[int]:
    """Where rows stand that moved most or score lowest, half of all that are shown, and others at even distances.

    Cases that a verdict names are always there: its links lead to them.
    """
    total, columns = len(document.results), document.score_columns
    variant = next(iter(document.adapters), document.variants[0])
    metric = leading_metric(document, variant) or next(iter(document.statistics.metrics), "")
    own, base = columns.of(metric, variant), columns.of(metric, BASE)
    known = [place for place, score in enumerate(own) if not math.isnan(score)]

    def worth(place: int) -> tuple[float, float]:
        before = base[place] if place < len(base) and not math.isnan(base[place]) else own[place]
        return own[place] - before, own[place]

    half = MOST_SHOWN // 2
    moved = {
        one.case
        for gate in (document.gate, document.comparison)
        if gate is not None
        for verdict in gate.verdicts
        for one in verdict.moved
    }
    found = {place for place, case in enumerate(columns.cases) if case in moved}
    found.update(heapq.nsmallest(half - len(found), known, key=worth))
    rest = MOST_SHOWN - len(found)
    found.update(step * total // rest for step in range(rest))
    return sorted(found)


def _row(row: Result, metrics: Sequence[str], variants: Sequence[str], say: Words) -> dict[str, Any]:
    return {
        "case": row.case,
        "id": row.prompt_id,
        "category": row.category,
        "epoch": row.epoch,
        "prompt": row.prompt,
        "tool": row.tool,
        "keywords": list(row.keywords_expected),
        "reference": row.reference,
        "calls": expected_calls_text(row, say),
        "outcome": row.outcome,
        "scores": [[_short(row.score(metric, name)) for name in variants] for metric in metrics],
        "answers": [_answer(row, name, say) for name in variants],
    }


def _answer(row: Result, variant: str, say: Words) -> dict[str, Any] | None:
    completion = row.completions.get(variant)
    if completion is None:
        return None
    return {
        "text": completion.text,
        "answered": completion.answered,
        "finish": completion.finish,
        "error": completion.error,
        "cached": completion.cached,
        "latency_s": _short(completion.latency_s) if completion.batch_size == 1 else None,  # else it is its batch's
        "completion_tokens": completion.completion_tokens,
        "reasoning": completion.reasoning,
        "calls": calls_made(completion, say),
        "faults": faults(row, variant, say),
        "cut": completion.text_cut,
        "prompt_cut": completion.prompt_truncated,
    }


def _short(value: float | None) -> float | None:
    """As precise as the page shows it, and no longer."""
    if value is None:
        return None
    return round(value, 1 if abs(value) >= _ONE_DECIMAL_FROM else _DECIMALS)
