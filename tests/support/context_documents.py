"""Documents of context runs from known laws: the time to the first token, what is accepted, and what is found."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmbench.context.analysis import analysed
from pytest_llmbench.context.comparison import compare_context
from pytest_llmbench.core.settings import GateSettings
from pytest_llmbench.runs.context_document import (
    ContextDocument,
    ContextLimits,
    ContextMetadata,
    ContextTarget,
    CountingDocument,
    FindingDocument,
    LimitDocument,
    ProbeDocument,
    ProbeKind,
    PromiseDocument,
    ReasonDocument,
    RefusalDocument,
    ServerDocument,
)
from pytest_llmbench.runs.context_runs import SavedContext

LENGTHS = (256, 512, 1024, 2048, 4096, 8159)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
KINDS: tuple[ProbeKind, ...] = ("one", "several", "distractors")
REFUSED = "the request exceeds the available context size (8192 tokens), try increasing it"
FOUND = "The code of the red door is 4711."

Law = Callable[[float], float]
Chance = Callable[[int, float], float]


def linear(tokens: float) -> float:
    """20 ms, and 0.1 ms a token."""
    return 0.02 + 1e-4 * tokens


def quadratic(tokens: float) -> float:
    """50 ms, and 30 ns a pair of tokens."""
    return 0.05 + 3e-8 * tokens**2


def both(tokens: float) -> float:
    """Its knee is at 4,000 tokens."""
    return 0.05 + 1e-4 * tokens + 2.5e-8 * tokens**2


def chunked(tokens: float) -> float:
    """Pieces of 1,024 tokens at 0.1 s each."""
    return 0.02 + 0.1 * math.ceil(tokens / 1024)


def falling(length: int, depth: float) -> float:
    """Found less in the middle of long prompts."""
    return 0.97 - 0.75 * (length / LENGTHS[-1]) * (1 - abs(2 * depth - 1))


@dataclass(frozen=True)
class Known:
    """What is known of a server beforehand."""

    law: Law = both
    chance: Chance = falling
    lengths: Sequence[int] = LENGTHS
    noise: float = 0.05
    repeats: int = 2
    seed: int = 1
    accepted: int = 8191
    engine: str = "llama.cpp"
    findings: Sequence[FindingDocument] = field(default=())


def probes(known: Known) -> Iterator[ProbeDocument]:
    """Every question at every length, one prompt that is refused, and one that asks nothing."""
    chance = random.Random(known.seed)
    asked = itertools.product(known.lengths, DEPTHS, KINDS, range(known.repeats))
    for place, (length, depth, kind, repeat) in enumerate(asked):
        facts = 3 if kind == "several" else 1
        seconds = known.law(length) * math.exp(chance.gauss(0, known.noise))
        found = sum(chance.random() < known.chance(length, depth) for _ in range(facts))
        yield ProbeDocument(
            id=f"sweep-{place}",
            sought="sweep",
            length=length,
            prompt_tokens=length,
            usage_tokens=length,
            cached_tokens=0,
            depth=depth,
            kind=kind,
            language="fr" if repeat else "en",
            needle=f"{kind}-{depth:g}-{repeat}",
            facts=facts,
            found=found,
            answer=FOUND,
            completion_tokens=24,
            first_token_s=round(seconds, 6),
            decode_tokens_per_s=round(40 / (1 + length / 6000), 2),
            total_s=round(seconds + 0.6, 6),
            started_s=place,
        )
    refusal = RefusalDocument(code="context_exceeded", status=400, text=REFUSED)
    over = known.accepted + 1
    yield ProbeDocument(id="over", sought="accepted", length=over, prompt_tokens=over, refusal=refusal)
    yield ProbeDocument(id="at", sought="accepted", length=over - 1, prompt_tokens=over - 1, first_token_s=0.9)


def limit(tokens: int, low: int, high: int | None, code: Any, /, **values: Any) -> LimitDocument:
    """A limit; undecided where its interval is wider than a tenth."""
    decided = low == tokens if high is None else high - low <= 0.2 * tokens
    reason = ReasonDocument(code=code, values=values)
    return LimitDocument(tokens=tokens, low=low, high=high, decided=decided, probes=30, reason=reason)


def limits(known: Known, **changed: LimitDocument | None) -> ContextLimits:
    """Accepted to the token, in time until 6,680, right as far as was asked."""
    refused = {"length": known.accepted + 1, "code": "context_exceeded", "status": 400, "text": REFUSED}
    made: dict[str, LimitDocument | None] = {
        "accepted": limit(known.accepted, known.accepted, known.accepted, "refused", **refused),
        "in_time": limit(6680, 6600, 6760, "late", seconds=1.84, promised_s=2.0),
        "right": limit(known.lengths[-1], 4096, None, "not_accepted", tokens=known.lengths[-1]),
    }
    return ContextLimits(**{**made, **changed})


def target(name: str = "qwen3-4b-instruct", known: Known | None = None, **changed: Any) -> ContextTarget:
    """A server that is known, as a context test reports it."""
    known = known or Known()
    made: dict[str, Any] = {
        "name": name,
        "server": ServerDocument(
            url="http://127.0.0.1:8000/v1", kind=known.engine, version="b9020", announced_context=8192, slots=4
        ),
        "model": name,
        "languages": ("en", "fr"),
        "promise": PromiseDocument(latency_s=2.0, quantile=0.95),
        "lengths": tuple(known.lengths),
        "depths": DEPTHS,
        "counting": CountingDocument(method="apply_template", exact=True, template_tokens=9),
        "probes": tuple(probes(known)),
        "limits": limits(known),
        "findings": tuple(known.findings),
        "duration_s": 312.4,
    }
    return analysed(ContextTarget(**made | changed))


FINDINGS = (
    FindingDocument(code="silent_truncation", values={"length": 9000, "usage_tokens": 8190}),
    FindingDocument(code="context_shift", values={"context": 8192, "prompt_tokens": 8191, "answer_tokens": 16}),
    FindingDocument(
        code="prefix_cache_seen", values={"length": 256, "first_s": 0.41, "again_s": 0.012, "cached_tokens": 251}
    ),
    FindingDocument(
        code="unified_pool_exceeded", values={"announced": 8192, "accepted": 8191, "slots": 4, "together": 9828}
    ),
    FindingDocument(code="announced_differs", values={"announced": 8192, "accepted": 8000}),
    FindingDocument(code="count_differs", values={"most_off": 2}),
    FindingDocument(code="no_usage"),
    FindingDocument(code="server_died", values={"tokens": 8192, "times": 1}),
    FindingDocument(code="out_of_memory", values={"tokens": 8192, "times": 2}),
    FindingDocument(code="weak_at_shortest", values={"share": 0.31, "length": 256}),
    FindingDocument(code="answers_cut", values={"share": 0.12}),
    FindingDocument(code="time_over", values={"seconds": 240.0}),
)


def document(*targets: ContextTarget, created: str = "2026-11-29T12:00:00+00:00", **changed: Any) -> ContextDocument:
    """A run that found these."""
    provenance = {
        "git": {"commit": "0123abcd" * 5, "dirty": False},
        "python": "3.11.2",
        "versions": {"scipy": "1.16.3"},
    }
    metadata = ContextMetadata(created=created, command="llmbench context", provenance=provenance)
    return ContextDocument(metadata=metadata, targets=targets, **changed)


@functools.cache
def several_contexts() -> ContextDocument:
    """Everything that a report may hold.

    One server is bound by time, and of it everything is noticed that may be. Others have limits alone: bound by what is
    found, not bound, and accepting nothing. An earlier run is there, that was better and had another model, too.
    """
    forgetful = Known(law=linear, seed=2, engine="vLLM")
    found = limits(
        forgetful,
        right=limit(3400, 3000, 4000, "fewer_found", length=4096, share=0.6, share_at_shortest=0.95, p_value=0.0004),
        in_time=limit(8191, 8191, None, "not_accepted", tokens=8191),
    )
    all_fine = ContextLimits(
        accepted=limit(8159, 8159, None, "end_of_range", tokens=8159),
        in_time=limit(8159, 8159, None, "not_accepted", tokens=8159),
        right=limit(8159, 8159, None, "end_of_range", tokens=8159),
    )
    shut = ContextLimits(accepted=limit(0, 0, 255, "never", length=256, code="http", status=400, text="no"))
    found_out = document(
        target(known=Known(findings=FINDINGS)),
        target("llama-3.1-8b-instruct", forgetful, probes=(), limits=found),
        target("smollm2-135m", probes=(), limits=all_fine),
        target("shut", probes=(), lengths=(), limits=shut),
    )
    longer = limits(Known(), in_time=limit(7900, 7800, 8000, "late", seconds=1.9, promised_s=2.0))
    earlier = document(
        target(known=Known(chance=lambda _length, _depth: 1.0), limits=longer), target("gone", probes=())
    )
    comparison = compare_context(saved(earlier), found_out, GateSettings(kind="regression"))
    return found_out.model_copy(update={"comparison": comparison})


def saved(found: ContextDocument, name: str = "0007_accepted") -> SavedContext:
    """The document as a saved run."""
    return SavedContext(name, Path(f"reports/runs/{name}/context.json"), found)


def later(seed: int = 9, chance: Chance = falling, **changed: Any) -> ContextDocument:
    """A run on the same server after the one before it."""
    return document(target(known=Known(chance=chance, seed=seed), **changed), created="2026-11-30T12:00:00+00:00")
