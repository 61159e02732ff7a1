"""Runs that look like real ones, small enough to read."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.core.records import CaseResult, Completion, Run, Scores
from pytest_llmbench.runs.document import build_document

CATEGORIES = ("voice_commands", "voice_corrections", "tool_routing")
METADATA: Mapping[str, Any] = {
    "base_model": "smollm2-135m",
    "lora_adapter": "adapters/smollm2-135m-voice",
    "device": "cpu",
    "timestamp": "2026-02-18T10:00:00+00:00",
    "seed": 42,
    "quantization": "nf4",
    "weights_hash": "sha256:1f0c",
    "soundness": {"base_gap": 0.0, "adapter_effect": 3.25, "sound": True},
    "timings": {"load_s": 3.1, "generation_s": 21.4, "total_s": 26.0},
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    "versions": {"pytest-llmbench": "0.1.0", "torch": "2.13.0"},
    "python": "3.11.9",
    "platform": "Linux",
    "cpu": {"model": "A CPU", "cores": 8, "usable_cores": 2},
    "memory_bytes": 16_000_000_000,
    "gpus": [],
    "settings": {"generation": {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 128}},
}


def completion(case: str, variant: str, text: str, **changed: Any) -> Completion:
    """An ordinary answer."""
    known: dict[str, Any] = {
        "case": case,
        "epoch": 0,
        "variant": variant,
        "text": text,
        "finish": "stop",
        "prompt_tokens": 31,
        "completion_tokens": 12,
        "latency_s": 0.8,
        "first_token_s": 0.1,
        "timestamp": "2026-02-18T10:00:01+00:00",
    }
    return Completion(**known | changed)


def result(name: str, scores: Scores, *, epoch: int = 0, texts: Mapping[str, str] | None = None) -> CaseResult:
    """One case answered by the variants of `texts`."""
    category, _, prompt_id = name.partition("/")
    texts = texts or {"base": "Je suis désolé, je ne comprends pas.", "finetuned": "volume_up : j'augmente le volume"}
    return CaseResult(
        category=category,
        prompt_id=prompt_id,
        epoch=epoch,
        prompt="monte le son s'il te plaît",
        keywords=("volume", "augmente"),
        tool="volume_up",
        reference=None,
        completions={variant: completion(name, variant, text, epoch=epoch) for variant, text in texts.items()},
        scores=scores,
        timestamp="2026-02-18T10:00:02+00:00",
    )


def run(*results: CaseResult, variants: Sequence[str] = ("base", "finetuned"), **metadata: Any) -> Run:
    """A run of these results with ordinary metadata."""
    return Run(metadata={**METADATA, **metadata}, variants=tuple(variants), results=results)


def relevance(name: str, base: float | None, tuned: float | None) -> CaseResult:
    """A case that only relevance scored."""
    return result(name, {"relevance": {"base": base, "finetuned": tuned}})


def full_run(
    categories: Sequence[str] = CATEGORIES, cases: int = 10, variants: Sequence[str] = ("base", "finetuned")
) -> Run:
    """Every metric for every variant, with values drawn from a fixed seed; later variants are the better ones."""
    dice = random.Random(7)
    names = [f"{category}/cas-{number:02}" for category in categories for number in range(cases)]
    return run(*(_full_result(name, variants, dice) for name in names), variants=variants)


def built(run: Run) -> dict[str, Any]:
    """The run's document, with answers of the usual length."""
    return build_document(run, answer_chars=500)


def _full_result(name: str, variants: Sequence[str], dice: random.Random) -> CaseResult:
    places = dict(zip(variants, range(len(variants)), strict=True))
    scores = {
        "relevance": {v: min(1.0, dice.randrange(0, 5) / 10 + 0.3 * place) for v, place in places.items()},
        "keywords": {v: dice.choice([0.0, 0.5, 0.5 + 0.5 * min(place, 1)]) for v, place in places.items()},
        "tool_accuracy": {v: float(dice.random() < 0.2 + 0.5 * place) for v, place in places.items()},
        "cosine_similarity": {v: round(dice.uniform(0.3, 0.95), 3) for v in variants if v != "base"},
        "latency_s": {v: round(dice.uniform(0.3, 2.0), 3) for v in variants},
        "tokens_per_s": {v: round(dice.uniform(8, 20), 2) for v in variants},
    }
    texts = {v: f"Réponse de {v} : d'accord, j'augmente le volume. " * (1 + place) for v, place in places.items()}
    return result(name, scores, texts=texts)
