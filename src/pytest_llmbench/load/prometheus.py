"""What the `/metrics` pages of the known servers say about the work that the server has."""

from __future__ import annotations

import dataclasses
import math
import re

_RUNNING = frozenset(
    (
        "llamacpp:requests_processing",
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "tgi_batch_current_size",
    )
)
_WAITING = frozenset(
    (
        "llamacpp:requests_deferred",
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "tgi_queue_size",
    )
)
_KV_CACHE = frozenset(
    (
        "llamacpp:kv_cache_usage_ratio",
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
    )
)
_PROMPT_TOKENS = frozenset(
    (
        "llamacpp:prompt_tokens_total",
        "vllm:prompt_tokens_total",
        "sglang:prompt_tokens_total",
        "tgi_request_input_length_sum",
    )
)
_GENERATED_TOKENS = frozenset(
    (
        "llamacpp:tokens_predicted_total",
        "vllm:generation_tokens_total",
        "sglang:generation_tokens_total",
        "tgi_request_generated_tokens_sum",
    )
)
_PREEMPTIONS = frozenset(("vllm:num_preemptions_total",))
_KNOWN = _RUNNING | _WAITING | _KV_CACHE | _PROMPT_TOKENS | _GENERATED_TOKENS | _PREEMPTIONS
_SAMPLE = re.compile(rf"""^({"|".join(sorted(_KNOWN))})(?:\{{(?!.*\bpriority="[^"]).*\}})?[ \t]+(\S+)""", re.MULTILINE)
"""Only the lines that are wanted: taking a busy server's page apart line by line would hold an event loop up.

SGLang tells its queues by priority too, where it schedules by that: those are in the total, which has none.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """One look at a server; None for what its page does not tell.

    `kv_cache` is the used share, 0 to 1, of the fullest engine. The tokens and preemptions are counted since the
    server started. A value that is no number is NaN.
    """

    running: float | None = None
    waiting: float | None = None
    kv_cache: float | None = None
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    preemptions: float | None = None


def read_page(page: str) -> Reading | None:
    """The reading of a page in Prometheus' text form, its engines taken together; None when no known name is in it."""
    found = [(name, _number(value)) for name, value in _SAMPLE.findall(page)]
    if not found:
        return None

    def of(names: frozenset[str]) -> list[float]:
        return [value for name, value in found if name in names]

    return Reading(
        running=_total(of(_RUNNING)),
        waiting=_total(of(_WAITING)),
        kv_cache=max(of(_KV_CACHE), default=None),
        prompt_tokens=_total(of(_PROMPT_TOKENS)),
        generated_tokens=_total(of(_GENERATED_TOKENS)),
        preemptions=_total(of(_PREEMPTIONS)),
    )


def _total(values: list[float]) -> float | None:
    return sum(values) if values else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
