"""What searches of live servers came to, as typed models: what `autotune.json` holds, and what tests are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field

from pytest_llmbench.load.reasons import Code, EndedBy
from pytest_llmbench.runs.typed import Number, Text, TypedDocument, read_as

QuestionName = Literal["users", "rate", "history", "max_tokens"]
Unit = Literal["users", "requests/s", "messages", "tokens"]
TrialVerdict = Literal["held", "broken", "undecided", "invalid"]
Cause = Literal[
    "slots", "kv_cache", "prefill", "decode", "alone", "length", "stalls", "errors", "client", "not_reached", "unknown"
]


class FoundDocument(TypedDocument):
    """What all of them share: tests may read a value by its key too, `found["low"]`."""

    def __getitem__(self, key: str) -> Any:
        if key not in type(self).model_fields:
            raise KeyError(key)
        return getattr(self, key)


class Asked(NamedTuple):
    """One request of a trial; times are seconds on the trial's clock, `good` is 0 or 1."""

    user: int
    started_s: float
    first_s: float | None
    ended_s: float
    good: int
    tokens: int | None

    @property
    def wait_s(self) -> float:
        """Until the first token; until it was given up where none came, which is the least it can have been."""
        return (self.ended_s if self.first_s is None else self.first_s) - self.started_s

    @property
    def writing_s(self) -> float:
        """From the first token to the end."""
        return 0.0 if self.first_s is None else self.ended_s - self.first_s


class Percentiles(FoundDocument):
    """Seconds; those that nobody asked for are None."""

    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class ServerGauges(FoundDocument):
    """The server in a trial. Rates are over the seconds in which it worked; None is what its page does not tell."""

    running_max: float | None = None
    running_mean: float | None = None
    waiting_max: float | None = None
    waiting_mean: float | None = None
    kv_cache_max: float | None = None
    prompt_tokens_per_s: float | None = None
    generated_tokens_per_s: float | None = None
    preemptions: float | None = None
    samples: int = 0


class GpuGauges(FoundDocument):
    """The GPUs in a trial: the busiest one's share of time at work, and the most memory in use on all together."""

    devices: tuple[str, ...] = ()
    utilization: float | None = None
    utilization_max: float | None = None
    memory_gib: float | None = None


class ClocksEntry(FoundDocument):
    """The machines that load came from in a trial, and the largest difference of their wall clocks from this one's.

    `error_s` is the most that a comparison of clocks may be wrong by, which is what requests of two machines may be put
    in the wrong order by.
    """

    machines: int
    skew_s: float
    error_s: float


class TrialEntry(FoundDocument):
    """One trial of a finding. `started_s` counts from the beginning of the search.

    `reason` says in English what `code` and its `values` tell programs; trials of older journals have the text alone.

    `latency_s` and `first_token_s` are of the judged answers but those that failed within the limit: what was cut off
    or failed later counts with the time it had by then, which is the least that it would have taken. All else is of
    the `completed` ones alone: `cut_off` is the share that the token limit ended, `decode_tokens_per_s` the median of
    tokens after the first one, by the time they took. `left_open` counts the answers after whose end the server kept
    the stream open. `served_per_s` is at which rate judged answers came to their end, None where too few did.
    """

    level: Number
    verdict: TrialVerdict
    reason: Text
    code: Code | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    good: int
    total: int
    completed: int | None = None
    sent: int
    started_s: float
    duration_s: float
    loop_lag_s: float
    standstill_s: float | None = None
    client_cpu: float
    processes: int
    clocks: ClocksEntry | None = None
    idle_after_s: float | None
    latency_s: Percentiles | None
    first_token_s: Percentiles | None
    first_reasoning_s: Percentiles | None = None
    gap_s: Percentiles | None
    decode_tokens_per_s: float | None
    prompt_tokens: float | None
    completion_tokens: float | None
    tokens_counted: bool
    cut_off: float | None
    errors: dict[Text, int]
    server: ServerGauges | None
    gpu: GpuGauges | None
    requests: tuple[Asked, ...]
    requests_thinned: bool = False
    left_open: int = 0
    served_per_s: float | None = None

    @property
    def answered(self) -> int:
        """Answers that came to their end; older journals tell only which failed."""
        return self.total - sum(self.errors.values()) if self.completed is None else self.completed

    @property
    def counts(self) -> bool:
        """Whether it says something of the server."""
        return self.verdict != "invalid"


class ShareAtLevel(FoundDocument):
    """The share of good answers at a level, with its 95 % band."""

    level: Number
    share: float
    low: float
    high: float


class CutOff(FoundDocument):
    """The share of answers at a level that the token limit ended."""

    level: Number
    share: float
    answers: int


class TrialContradiction(FoundDocument):
    """A trial that had it clearly worse than the others from its level up to another one."""

    level: Number
    good: int
    total: int
    others_up_to: Number
    others_good: int
    others_total: int


class Promise(FoundDocument):
    """The SLO that trials were held against."""

    quantile: float
    limit_s: Number
    latency: Literal["total", "first_token"]

    @property
    def is_strict(self) -> bool:
        """Whether a whole trial passes or fails, so that the curve is of trials, not of answers."""
        return self.quantile >= 1


class Behaviour(FoundDocument):
    """How the simulated people came and behaved."""

    arrivals: str
    messages: int
    history: int
    cooldown_s: Number
    jitter: Number
    seed: int


class Finding(FoundDocument):
    """The answer to one question about a server.

    `value` is the highest level that keeps the promise, `low` to `high` its 95 % interval. None of them, nor any other
    number here but `highest`, which may be tried, is above `highest_tried`, which was: `capped` tells that `value`
    stands for "that or more", `unbounded` that `high` does. `held` is False where not even the lowest level keeps the
    promise; `value` is 0 then. `ended_by` is what ended the search, `tested_at` when its last trial was over; older
    documents tell neither. `chances` are of each level to be the one, 0 standing for none too, the highest tried for
    all above. `chance_required` is None where trials are promising, and none was that high. `cut_off` and
    `cut_off_at_value` belong to `max_tokens` alone. `too_short_s` is how long trials of a rate lasted, where that is
    too short to see a slow queue. `notes` are in English.
    """

    question: QuestionName
    unit: Unit
    value: Number
    low: Number
    high: Number
    held: bool
    decided: bool
    ended_by: EndedBy | None = None
    highest: Number
    highest_tried: Number | None = None
    capped: bool
    unbounded: bool = False
    wanted_share: float
    lapse: float
    chances: dict[str, float]
    curve: tuple[ShareAtLevel, ...]
    chance_required: float | None
    slo: Promise
    users_held: int | None
    habits: Behaviour
    cut_off: tuple[CutOff, ...] | None
    cut_off_at_value: float | None
    trials: tuple[TrialEntry, ...]
    contradiction: TrialContradiction | None = None
    any_fall: bool = False
    sent: int
    duration_s: float
    resumed_trials: int
    tested_at: str | None = None
    too_short_s: float | None = None
    notes: tuple[Text, ...]

    @property
    def asked_nobody(self) -> bool:
        """Whether all trials are of an earlier session, whose finished search was resumed."""
        return self.resumed_trials > 0 and self.resumed_trials == len(self.trials)

    @property
    def valid_trials(self) -> list[TrialEntry]:
        """Those that say something of the server, in the order they were run."""
        return [trial for trial in self.trials if trial.counts]


class GridMean(FoundDocument):
    """A metric's mean over the cases; the interval is None where all cases score alike."""

    mean: float | None
    low: float | None
    high: float | None
    count: int


class Against(FoundDocument):
    """A metric at one temperature against the temperature in use, case by case; positive is better."""

    effect: float
    p_adjusted: float
    outcome: Literal["better", "worse", "no difference shown"]


class Point(FoundDocument):
    """One temperature: each metric's mean, and how it compares; `against` is empty for the one in use."""

    temperature: float
    answers: int = 0
    failed: int = 0
    scores: dict[str, GridMean]
    against: dict[str, Against] | None = None

    def metrics(self, outcome: str) -> list[str]:
        """Those that came out so against the temperature in use."""
        return [name for name, against in (self.against or {}).items() if against.outcome == outcome]


class TemperatureGrid(FoundDocument):
    """What the grid gave. `best` is the temperature to use, `reason` why.

    `ignored` tells that each question was answered word for word alike at every temperature: then none is best.
    """

    metrics: tuple[str, ...]
    in_use: float | None = None
    points: tuple[Point, ...]
    best: float | None
    reason: str
    ignored: bool = False


class LimitEvidence(FoundDocument):
    """The measured numbers that an explanation rests on, times in seconds; None is what was not measured."""

    low_level: Number | None = None
    levels: tuple[Number, ...] = ()
    answers: int = 0
    late: int | None = None
    bad: int = 0
    failed: int = 0
    error: Text | None = None
    error_count: int | None = None
    latency_low_s: float | None = None
    latency_s: float | None = None
    first_token_low_s: float | None = None
    first_token_s: float | None = None
    late_first_token_s: float | None = None
    token_low_s: float | None = None
    token_s: float | None = None
    gap_low_s: float | None = None
    gap_s: float | None = None
    gap_p99_s: float | None = None
    tokens: Number | None = None
    prompt_tokens: Number | None = None
    requests_per_s: float = 0.0
    reading_share: float | None = None
    slots: int | None = None
    waiting: int | None = None
    running_max: float | None = None
    waiting_max: float | None = None
    kv_cache_max: float | None = None
    stray_share: float | None = None
    before_first_share: float | None = None
    late_alone: float | None = None
    level: Number | None = None
    client_cpu: float = 0.0
    loop_lag_s: float = 0.0
    processes: int | None = None
    invalid_trials: int | None = None
    highest: Number | None = None


class Explanation(FoundDocument):
    """Why a limit is where it is, and what to try next, in English and French."""

    cause: Cause
    evidence: LimitEvidence
    sentences: dict[str, tuple[Text, ...]]
    to_try: dict[str, tuple[Text, ...]] = Field(alias="try")


class Server(FoundDocument):
    """Who was asked."""

    name: Text
    url: Text
    model_name: Text | None
    engine: Text | None


class TargetLimits(Server):
    """One server, or one model of it: what was asked (question -> finding), and the quality by temperature."""

    findings: dict[QuestionName, Finding]
    temperature: TemperatureGrid | None = None
    why: dict[QuestionName, Explanation] = Field(default_factory=dict)


class LimitsMetadata(FoundDocument):
    """What the document was made of; `settings` are sections of settings."""

    timestamp: str
    command: str
    git: dict[str, Any] | None
    versions: dict[str, str]
    machine: dict[str, Any]
    settings: dict[str, dict[str, Any]]


class LimitsDocument(FoundDocument):
    """Everything that a session found of its servers."""

    schema_version: int
    metadata: LimitsMetadata
    targets: tuple[TargetLimits, ...]

    @property
    def required_users(self) -> int | None:
        """How many users were required, as a gate."""
        required = self.metadata.settings["load"].get("require_users")
        return None if required is None else int(required)

    @property
    def is_measured(self) -> bool:
        """Whether there is anything to draw."""
        return any(target.findings or target.temperature for target in self.targets)


def typed_limits(document: Mapping[str, Any] | LimitsDocument) -> LimitsDocument:
    """The limits in a document that obeys `schemas/autotune.schema.json`, as built or as read back from disk."""
    return read_as(LimitsDocument, document)
