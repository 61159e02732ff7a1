"""The document of a context run: every probe of a server at every length, the three limits, and what follows from them.

`context.json` holds it; `schemas/context.schema.json` is made from these models. Tokens are prompt tokens as the server
counts them, seconds are wall-clock seconds, shares lie between 0 and 1.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pytest_llmbench.runs.typed import TypedDocument, VerdictOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator


CountingMethod = Literal["tokenize", "apply_template", "tokenizer", "calibrated"]
ProbeKind = Literal["one", "several", "distractors"]
LimitName = Literal["accepted", "in_time", "right"]
Sought = Literal["accepted", "in_time", "sweep"]
RefusalCode = Literal["context_exceeded", "out_of_memory", "server_gone", "timeout", "http"]
LimitCode = Literal[
    "end_of_range",  # the longest length that was asked for was still fine
    "not_accepted",  # this limit ends where the server accepts no more
    "refused",  # values: the refusal's code, status and text
    "cut",  # accepted, but `usage` says that fewer tokens were read
    "late",  # values: seconds, or share_timed_out where what came did so in time; promised_s
    "fewer_found",  # values: share, share_at_shortest, p_value
    "never",  # not even the shortest length; `tokens` is 0 then
    "stopped",  # the session, or what a search may send, ended first
]
FindingCode = Literal[
    "silent_truncation",  # prompt tokens in `usage` smaller than sent
    "context_shift",  # the answer went on after the context was full: its oldest part was dropped
    "prefix_cache_seen",  # values: cached_tokens
    "unified_pool_exceeded",  # values: announced, accepted, slots
    "announced_differs",  # values: announced, accepted
    "count_differs",  # values: counted, usage
    "no_usage",  # the server sends no `usage`: counts are the tokenizer's
    "server_died",  # values: tokens
    "out_of_memory",  # values: tokens
    "weak_at_shortest",  # values: share; the model misses facts even at the shortest length
    "answers_cut",  # values: share; `max_tokens` ended answers
    "time_over",  # values: seconds; `context.time_limit` ended the test before all was asked
]
Value = float | int | str | bool | None


class ServerDocument(TypedDocument):
    """Who answered. `kind` is the engine as it was recognised, None where it was not."""

    url: str
    kind: str | None = None
    version: str | None = None
    announced_context: int | None = None
    slots: int | None = None


class PromiseDocument(TypedDocument):
    """The latency promise: the share `quantile` of all answers comes within `latency_s`."""

    latency_s: float
    quantile: float
    latency: Literal["total", "first_token"] = "first_token"


class CountingDocument(TypedDocument):
    """How prompt tokens were counted. `exact`: every prompt had just as many tokens as were asked for."""

    method: CountingMethod
    exact: bool
    most_off: int = 0
    """The greatest difference, in tokens, of what was counted to what was asked for, or to what `usage` said."""
    template_tokens: int | None = None
    """What the chat template adds to a prompt's text."""


class RefusalDocument(TypedDocument):
    """Why there was no answer. `status` is HTTP's, None where no response came."""

    code: RefusalCode
    status: int | None = None
    text: str = ""


class ProbeDocument(TypedDocument):
    """One prompt that was sent, and what came back.

    Probes of the same `needle` asked the same question about the same facts, at other lengths or in another run: they
    are compared as pairs. `needle` is None where nothing was asked that has a right answer.
    """

    id: str
    sought: Sought
    length: int
    """Prompt tokens that were asked for."""
    prompt_tokens: int
    """Prompt tokens that were sent, as counted before sending."""
    usage_tokens: int | None = None
    """Prompt tokens as the server's `usage` says."""
    cached_tokens: int | None = None
    depth: float | None = None
    """Where the fact stands: 0 is the prompt's beginning, 1 its end."""
    kind: ProbeKind = "one"
    language: str = "en"
    needle: str | None = None
    facts: int = 0
    """How many facts were asked for."""
    found: int = 0
    """How many of them the answer had."""
    answer: str = ""
    completion_tokens: int | None = None
    first_token_s: float | None = None
    decode_tokens_per_s: float | None = None
    """Tokens after the first, over the time from the first to the last."""
    total_s: float | None = None
    started_s: float = 0.0
    """Since the session began."""
    refusal: RefusalDocument | None = None
    cut: bool = False
    """`usage` says that fewer prompt tokens were read than were sent."""
    kv_use: float | None = None
    """Share of the server's KV cache in use."""
    server_memory_bytes: int | None = None

    @property
    def correct(self) -> float | None:
        """The share of facts that was found; None where none was asked for, or nothing was answered."""
        return self.found / self.facts if self.facts and self.refusal is None else None


class ReasonDocument(TypedDocument):
    """Why a limit is where it is: a code with the numbers it rests on."""

    code: LimitCode
    values: dict[str, Value] = Field(default_factory=dict)


class LimitDocument(TypedDocument):
    """The longest prompt, in tokens, for which one of the three holds; `low` to `high` is its 95 % interval.

    `high` is None where nothing shows an end: the longest length asked for was still fine.
    """

    tokens: int
    low: int
    high: int | None
    decided: bool
    probes: int
    reason: ReasonDocument


class ContextLimits(TypedDocument):
    """The three limits; None where one was not sought."""

    accepted: LimitDocument | None = None
    in_time: LimitDocument | None = None
    right: LimitDocument | None = None

    def sought(self) -> Iterator[tuple[LimitName, LimitDocument]]:
        """Those that were sought, by name."""
        named: tuple[tuple[LimitName, LimitDocument | None], ...] = (
            ("accepted", self.accepted),
            ("in_time", self.in_time),
            ("right", self.right),
        )
        return ((name, limit) for name, limit in named if limit is not None)

    def answer(self) -> LongestContext | None:
        """The smallest of them, and which one binds. Of two alike it is the one that the other rests on.

        A limit that ends where no more is accepted leaves that one to bind; one that the range of lengths ended, none.
        It is settled where all limits are that end there: an exact one does not settle another at the same length.
        """
        found = list(self.sought())
        if not found:
            return None
        name, least = min(found, key=lambda one: one[1].tokens)
        binding: dict[str, LimitName | None] = {"not_accepted": "accepted", "end_of_range": None}
        ends = [limit.high for _, limit in found if limit.high is not None]
        return LongestContext(
            tokens=least.tokens,
            low=min(limit.low for _, limit in found),
            high=max(least.tokens, min(ends)) if ends else None,
            bound_by=binding.get(least.reason.code, name),
            decided=all(limit.decided for _, limit in found if limit.tokens == least.tokens),
        )


class LongestContext(TypedDocument):
    """The longest context at which the server still answers in time and still finds what is in it.

    `bound_by` is the limit that keeps it from being longer, None where the longest length asked for was still fine.
    """

    tokens: int
    low: int
    high: int | None
    bound_by: LimitName | None
    decided: bool = True


class FindingDocument(TypedDocument):
    """Something about the server that its numbers alone do not show."""

    code: FindingCode
    values: dict[str, Value] = Field(default_factory=dict)


class NumberWithInterval(TypedDocument):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class LawDocument(TypedDocument):
    """First token after n prompt tokens: `constant_s + per_token_s * n + per_token_squared_s * n ** 2` seconds.

    `exponent` is that of the cost without its constant, `n ** exponent`, over the lengths that were measured. `knee` is
    the length from which the quadratic part costs more than the linear one; None where it has none. Where a server
    reads prompts in pieces of `step_tokens`, n is the length rounded up to a multiple of it.
    """

    constant_s: NumberWithInterval
    per_token_s: NumberWithInterval
    per_token_squared_s: NumberWithInterval
    exponent: NumberWithInterval | None = None
    knee: NumberWithInterval | None = None
    step_tokens: int | None = None
    spread: float
    """Typical relative deviation of a measurement from the law."""
    probes: int
    shortest: int
    longest: int

    def seconds(self, tokens: float) -> float:
        """The time to the first token after so many prompt tokens."""
        read = math.ceil(tokens / self.step_tokens) * self.step_tokens if self.step_tokens else tokens
        return self.constant_s.value + self.per_token_s.value * read + self.per_token_squared_s.value * read**2


class LengthTimesDocument(TypedDocument):
    """The times at one length. `first_token_high_s` is the promise's quantile of them."""

    length: int
    probes: int
    first_token_s: float
    first_token_low_s: float
    first_token_high_s: float
    prefill_tokens_per_s: float
    decode_tokens_per_s: float | None = None


class AccuracyDocument(TypedDocument):
    """How many facts were found, with the 95 % interval of the share; None for a depth or kind stands for all."""

    length: int
    depth: float | None = None
    kind: ProbeKind | None = None
    facts: int
    found: int
    share: NumberWithInterval


class AnalysisDocument(TypedDocument):
    """What follows from the probes: made by `context/analysis.py`, stored so that other programs need not make it."""

    law: LawDocument | None = None
    times: tuple[LengthTimesDocument, ...] = ()
    by_length: tuple[AccuracyDocument, ...] = ()
    by_depth: tuple[AccuracyDocument, ...] = ()
    """One for each length and depth."""
    by_kind: tuple[AccuracyDocument, ...] = ()
    """One for each length and kind of question."""


class ContextTarget(TypedDocument):
    """Everything about one server and model."""

    name: str
    server: ServerDocument
    model: str | None = None
    languages: tuple[str, ...]
    promise: PromiseDocument
    lengths: tuple[int, ...]
    depths: tuple[float, ...]
    counting: CountingDocument
    probes: tuple[ProbeDocument, ...]
    limits: ContextLimits
    answer: LongestContext | None = None
    findings: tuple[FindingDocument, ...] = ()
    analysis: AnalysisDocument | None = None
    duration_s: float = 0.0
    resumed_probes: int = 0


class ContextVerdict(TypedDocument):
    """One question of a comparison with an earlier run: did a limit fall, or are fewer facts found at a length?

    Of limits, `before` and `after` are tokens and `effect` the relative change, None where a limit rose from 0; of
    facts, shares and their difference over the questions that both runs asked. `low` to `high` is the 95 % interval of
    the effect, None at an end that is open; the outcome is by `gate.alpha`. `n` is the number of prompts, of facts that
    of pairs.
    """

    target: str
    about: Literal["accepted", "in_time", "right", "facts"]
    length: int | None = None
    outcome: VerdictOutcome
    before: float
    after: float
    effect: float | None
    low: float | None
    high: float | None
    p_value: float | None = None
    p_adjusted: float | None = None
    margin: float = 0.0
    n: int = 0
    needed: int | None = None
    """How many questions would settle it."""


class ComparisonNote(TypedDocument):
    """What keeps two runs from being compared in full."""

    code: Literal[
        "target_missing",  # values: target
        "target_unjudged",  # values: target; both runs have it, and nothing of it could be compared
        "model_differs",  # values: before, after
        "promise_differs",  # values: target
        "counting_differs",  # values: target, before, after
        "other_questions",  # values: target, length
        "other_lengths",  # values: target, lengths; those at which one run only asked for facts
        "limit_missing",  # values: target, limit
        "confidence",  # values: share; that of the intervals by which limits were judged
    ]
    values: dict[str, Value] = Field(default_factory=dict)


class ContextComparison(TypedDocument):
    """A run held against an earlier one, `name`. `failed` says whether the session fails for it."""

    kind: Literal["regression", "improvement", "compare"]
    name: str
    created: str
    alpha: float
    outcome: VerdictOutcome
    failed: bool
    verdicts: tuple[ContextVerdict, ...]
    notes: tuple[ComparisonNote, ...] = ()


class ContextMetadata(TypedDocument):
    """Where the document came from."""

    created: str
    command: str = ""
    name: str | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)


class ContextDocument(TypedDocument):
    """What a context run found out about one or several servers."""

    schema_version: Literal[1] = 1
    kind: Literal["context"] = "context"
    metadata: ContextMetadata
    targets: tuple[ContextTarget, ...]
    comparison: ContextComparison | None = None

    def as_json(self) -> str:
        """The document as strict JSON, indented for people and for diffs."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
