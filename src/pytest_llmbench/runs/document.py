"""A run as one JSON-ready document: the reference's keys, and everything needed to explain it later."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from pytest_llmbench.core.locale import N_
from pytest_llmbench.core.records import SCHEMA_VERSION, CaseResult, Completion, Run
from pytest_llmbench.runs.averages import Row, Summary, compared, keywords_found
from pytest_llmbench.runs.baseline import comparable_columns, prompt_sha
from pytest_llmbench.runs.result_parts import ResultParts

_log = logging.getLogger("pytest_llmbench")

HIDDEN = "[hidden]"
_LOGIN_IN_URL = re.compile(r"(?<=//)[^/@\s]+@")


def build_document(run: Run, *, answer_chars: int) -> dict[str, Any]:
    """The run's document, ready for strict JSON and valid against `schemas/run.schema.json`.

    Answers are cut to `answer_chars` characters and marked. The keys that end in `_base` and `_finetuned` belong to
    the base and to the first adapter; `scores`, `completions` and `metrics` hold every variant.
    """
    from pytest_llmbench.metrics.similarity import cosine_between_cases

    rows = [result_row(result, run.variants, answer_chars) for result in run.results]
    measured = cosine_between_cases(run)
    about = {**run.metadata, **({"cosine_between_cases": measured} if measured else {})}
    asked = _asked({(row["case"], prompt_sha(row)) for row in rows})
    return document_of(dataclasses.replace(run, metadata=about), rows, asked)


def document_of(run: Run, rows: Sequence[Row], cases_sha256: str) -> dict[str, Any]:
    """The document of a run whose results are these rows, in one pass over them.

    `cases_sha256` is the hash of what was asked.
    """
    whole, by_category = Summary(run.variants), dict[str, Summary]()
    for row in rows:
        whole.add(row)
        by_category.setdefault(row["category"], Summary(run.variants)).add(row)
    applied = whole.applied(run.variants)
    return {
        "schema_version": SCHEMA_VERSION,
        "metadata": {**_metadata(run), "cases_sha256": cases_sha256},
        "statistics": whole.told(applied),
        "by_category": {category: summary.told(applied) for category, summary in by_category.items()},
        "gate": _plain(run.gate),
        "comparison": _plain(run.comparison),
        "results": rows,
    }


def large_document(run: Run, parts: ResultParts) -> dict[str, Any]:
    """As `build_document`, for a run whose rows lie in parts beside its file."""
    return document_of(run, parts, _asked(set(comparable_columns(parts).asked())))


def judged(
    document: Mapping[str, Any], gate: Mapping[str, Any] | None, comparison: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A run's document with its gate and the comparison with the base, which are found from the document itself."""
    return {**document, "gate": _plain(gate), "comparison": _plain(comparison)}


def _asked(asked: AbstractSet[tuple[str, str]]) -> str:
    """A hash over what was asked and expected, whatever the order: runs that share it can be compared."""
    found = hashlib.sha256(b"[")
    for place, one in enumerate(sorted(asked)):
        found.update(((", " if place else "") + json.dumps(one)).encode())
    found.update(b"]")
    return found.hexdigest()


def _metadata(run: Run) -> dict[str, Any]:
    reference: dict[str, Any] = {"base_model": None, "lora_adapter": None, "device": None, "timestamp": ""}
    found = _plain(without_secrets(run.metadata))
    return {
        **reference,
        **found,
        "variants": list(run.variants),
    }


def result_row(result: CaseResult, variants: Sequence[str], answer_chars: int) -> dict[str, Any]:
    """One entry of a document's `results`; answers are cut to `answer_chars` characters."""
    base, tuned = compared(variants)
    keywords, scores = [_clean(keyword) for keyword in result.keywords], _scores(result)
    completions = {name: _completion(item, answer_chars) for name, item in result.completions.items()}

    def score(metric: str, variant: str | None) -> float | None:
        return scores.get(metric, {}).get(variant or "")

    def found(variant: str | None) -> int | None:
        return keywords_found({"scores": scores, "keywords_expected": keywords}, variant)

    def answer(variant: str | None) -> str | None:
        return completions[variant]["text"] if variant in completions else None

    return {
        "prompt_id": _clean(result.prompt_id),
        "category": _clean(result.category),
        "prompt": _clean(result.prompt),
        "keywords_expected": keywords,
        "base_model_response": answer(base),
        "finetuned_response": answer(tuned),
        "cosine_similarity_score": score("cosine_similarity", tuned),
        "keyword_match_base": found(base),
        "keyword_match_finetuned": found(tuned),
        "jarvis_relevance_base": score("relevance", base),
        "jarvis_relevance_finetuned": score("relevance", tuned),
        "timestamp": result.timestamp,
        "relevance_base": score("relevance", base),
        "relevance_finetuned": score("relevance", tuned),
        "case": _clean(result.case),
        "epoch": result.epoch,
        "tool": _plain(result.tool),
        "reference": _plain(result.reference),
        "group": _plain(result.group),
        "messages_sha256": result.messages_sha256,
        "calls": _plain(result.calls),
        "reasons": _plain(result.reasons),
        "outcome": result.outcome,
        "scores": scores,
        "completions": completions,
    }


def _scores(result: CaseResult) -> dict[str, dict[str, float | None]]:
    return {
        metric: {variant: _finite(value, metric, result.case) for variant, value in by_variant.items()}
        for metric, by_variant in result.scores.items()
    }


def _finite(value: float | None, metric: str, case: str) -> float | None:
    if value is None or math.isfinite(value):
        return None if value is None else float(value)
    _log.warning(N_("metric %r gave %r for %s; reported as unscored"), metric, value, case)
    return None


def _completion(completion: Completion, answer_chars: int) -> dict[str, Any]:
    text = _clean(completion.text)
    return {
        "text": text[:answer_chars],
        "text_cut": len(text) > answer_chars,
        "reasoning": completion.reasoning and _clean(completion.reasoning)[:answer_chars],
        "finish": completion.finish,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "latency_s": completion.latency_s,
        "first_token_s": completion.first_token_s,
        "tokens_per_s": completion.tokens_per_s,
        "batch_size": completion.batch_size,
        "prompt_truncated": completion.prompt_truncated,
        "tool_calls": _plain(completion.tool_calls),
        "tools_left_out": _plain(completion.tools_left_out),
        "cached": completion.cached,
        "error": _plain(completion.error),
        "timestamp": completion.timestamp,
    }


def _clean(text: str) -> str:
    """Join surrogate pairs and replace lone ones: a broken server can send them, UTF-8 files cannot hold them."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _plain(value: Any) -> Any:
    """The same value in JSON's types; a number that JSON lacks (infinity) becomes its name."""
    if isinstance(value, Mapping):
        return {_clean(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _clean(value.as_posix() if isinstance(value, Path) else str(value))


def without_secrets(value: Any) -> Any:
    """Request headers and the login part of URLs often hold keys; reports are shared."""
    if isinstance(value, Mapping):
        return {
            key: dict.fromkeys(item, HIDDEN)
            if key == "headers" and isinstance(item, Mapping)
            else without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    return _LOGIN_IN_URL.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value
