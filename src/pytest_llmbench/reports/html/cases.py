"""The cases as data for the page's script: short keys, every variant, words included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.call_faults import calls_made, expected_calls_text, faults
from pytest_llmbench.reports.html.words import script_texts
from pytest_llmbench.reports.pairing import metrics_in_order
from pytest_llmbench.runs.comparison import higher_is_better, leading_metric
from pytest_llmbench.runs.typed import Result, RunDocument

_SIGNIFICANT_DIGITS = 6


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
        "rows": [_row(row, metrics, variants, say) for row in document.results],
    }


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
    return None if value is None else float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
