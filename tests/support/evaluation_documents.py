"""An evaluation's document for the reports' tests: two variants, three verdicts, retrieval, and what was forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VARIANTS = ("base", "finetuned")


def comparison(metric: str, effect: float, outcome: str, needed: int | None = None) -> dict[str, Any]:
    return {
        "variant": "finetuned",
        "against": "base",
        "metric": metric,
        "effect": effect,
        "low": effect - 0.05,
        "high": effect + 0.05,
        "p_adjusted": 0.2,
        "n": 8,
        "outcome": outcome,
        "needed_cases": needed,
    }


def _result(number: int) -> dict[str, Any]:
    answers = {name: {"text": f"answer {number} of {name}", "finish": "stop", "error": None} for name in VARIANTS}
    return {
        "id": f"q{number}",
        "source": "test.jsonl",
        "question": f"question {number}?",
        "reference": f"reference {number}" if number else None,
        "passages": [],
        "answers": answers,
        "scores": {"bleu": dict.fromkeys(VARIANTS, 0.5)},
    }


def evaluation_document(**changed: Any) -> dict[str, Any]:
    """A document that obeys `evaluation.schema.json`."""
    scores: Mapping[str, Mapping[str, float]] = {
        "base": {"bleu": 0.214, "chrf": 0.377, "repetition": 0.061},
        "finetuned": {"bleu": 0.583, "chrf": 0.392, "repetition": 0.148},
    }
    document: dict[str, Any] = {
        "schema_version": 1,
        "metadata": {
            "timestamp": "2026-11-21T10:00:00+00:00",
            "test_set": "test.jsonl",
            "test_sha256": "a" * 64,
            "questions": 8,
            "chunks": "chunks.jsonl",
            "passages": 3,
            "retrieval": "bm25",
            "context_prompt": None,
            "generation": {"temperature": 0.0, "max_new_tokens": 64, "seed": 1},
            "alpha": 0.05,
            "backend": {
                "backend": "transformers",
                "base_model": "smollm2-135m",
                "quantization": "nf4",
                "adapters": {"finetuned": {"path": "adapters/voice"}},
            },
        },
        "variants": list(VARIANTS),
        "metrics": {
            "bleu": {"higher_is_better": True},
            "chrf": {"higher_is_better": True},
            "repetition": {"higher_is_better": False},
        },
        "scores": {
            variant: {metric: {"mean": mean, "low": None, "high": None, "count": 8} for metric, mean in of.items()}
            for variant, of in scores.items()
        },
        "corpus": {"base": {"bleu": 20.4, "chrf": 36.2}, "finetuned": {"bleu": 57.9, "chrf": 40.1}},
        "finishes": {"base": {"stop": 6, "length": 2}, "finetuned": {"stop": 8}},
        "comparisons": [
            comparison("bleu", 0.369, "better"),
            comparison("chrf", 0.015, "no difference shown", 140),
            comparison("repetition", -0.087, "worse"),
        ],
        "forgetting": {
            "texts": 12,
            "perplexity": {
                "base": {"perplexity": 17.3, "ratio": None, "low": None, "high": None, "outcome": None},
                "finetuned": {"perplexity": 21.6, "ratio": 1.249, "low": 1.071, "high": 1.457, "outcome": "worse"},
            },
            "answers": [{"question": "general?", "answers": dict.fromkeys(VARIANTS, "something general")}],
        },
        "results": [_result(number) for number in range(8)],
    }
    return document | changed
