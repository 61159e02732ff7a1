"""The cases as data for the page's script: short keys, every variant, words included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.core.locale import Words
from pytest_llmbench.core.records import BASE
from pytest_llmbench.reports.call_faults import calls_made, expected_calls_text, faults
from pytest_llmbench.reports.html.words import script_texts
from pytest_llmbench.reports.pairing import metrics_in_order
from pytest_llmbench.runs.averages import Row
from pytest_llmbench.runs.comparison import adapters, higher_is_better, largest_answered_batch, leading_metric

_SIGNIFICANT_DIGITS = 6


def case_data(document: Mapping[str, Any], say: Words) -> dict[str, Any]:
    """What the script draws the table from. A row's scores follow the order of `metrics`, then of `variants`."""
    variants, metrics = document["metadata"]["variants"], metrics_in_order(document)
    against = adapters(document) or variants
    return {
        "variants": variants,
        "base": BASE if BASE in variants else None,
        "metrics": [
            {"name": name, "label": say.metric(name), "higher": higher_is_better(document, name)} for name in metrics
        ],
        "leading": next((name for one in against if (name := leading_metric(document, one))), None),
        "decimal": say.decimal_mark,
        "words": script_texts(say),
        "outcomes": {name: say.outcome(name) for name in document["statistics"]["outcomes"]},
        "timed": largest_answered_batch(document) == 1,
        "rows": [_row(row, metrics, variants, say) for row in document["results"]],
    }


def _row(row: Row, metrics: Sequence[str], variants: Sequence[str], say: Words) -> dict[str, Any]:
    return {
        "case": row["case"],
        "id": row["prompt_id"],
        "category": row["category"],
        "epoch": row["epoch"],
        "prompt": row["prompt"],
        "tool": row["tool"],
        "keywords": row["keywords_expected"],
        "reference": row["reference"],
        "calls": expected_calls_text(row, say),
        "outcome": row["outcome"],
        "scores": [[_short(row["scores"].get(metric, {}).get(name)) for name in variants] for metric in metrics],
        "answers": [_answer(row, name, say) for name in variants],
    }


def _answer(row: Row, variant: str, say: Words) -> dict[str, Any] | None:
    completion = row["completions"].get(variant)
    if completion is None:
        return None
    kept = {key: completion[key] for key in ("text", "finish", "error", "cached", "latency_s", "completion_tokens")}
    kept["latency_s"] = _short(kept["latency_s"]) if completion["batch_size"] == 1 else None  # else it is its batch's
    kept["reasoning"] = completion.get("reasoning")  # older documents do not tell
    kept["calls"], kept["faults"] = calls_made(completion, say), faults(row, variant, say)
    return kept | {"cut": completion["text_cut"], "prompt_cut": completion["prompt_truncated"]}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
