"""Documents as typed, frozen models, read from JSON that obeys the shipped schemas.

They hold what readers of a document need. Keys that a model does not name are left out; those that older documents lack
have a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

VerdictOutcome = Literal["pass", "fail", "inconclusive"]
Number = int | float
"""A number as it was written: a whole one stays whole."""


def _readable(value: Any) -> Any:
    """The same without lone surrogates, which a hand-edited document may hold."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8")
        case Mapping():
            return {_readable(key): _readable(item) for key, item in value.items()}
        case list() | tuple():
            return [_readable(item) for item in value]
    return value


Text = Annotated[str, BeforeValidator(_readable)]
"""Text that may come from a broken server."""
Model = TypeVar("Model", bound="TypedDocument")


class TypedDocument(BaseModel):
    """What all models share."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def json_ready(self) -> dict[str, Any]:
        """The document as JSON holds it: without keys that it did not have when it was read."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def read_as(model: type[Model], data: Mapping[str, Any] | TypedDocument) -> Model:
    """The data as a model; it is known to obey the model's schema."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return model.model_validate(_readable(data))


class Moved(TypedDocument):
    """A case whose score changed."""

    case: str
    before: float
    after: float


class VerdictDocument(TypedDocument):
    """One question of a gate: a metric of a variant, over all cases or those of a category."""

    variant: str
    metric: str
    category: str | None
    outcome: VerdictOutcome
    effect: float
    low: float | None
    high: float | None
    p_value: float | None
    p_adjusted: float | None
    before: float
    after: float
    n: int
    higher_is_better: bool = True
    margin: float = 0.0
    method: str = ""
    moved: tuple[Moved, ...] = ()


class NoteDocument(TypedDocument):
    """What keeps the two sides of a comparison from being quite the same."""

    kind: str
    message: str
    cases: tuple[str, ...] = ()


class BaselineDocument(TypedDocument):
    """The accepted run that a gate compares with."""

    name: str
    commit: str | None = None
    timestamp: str | None = None


class GateDocument(TypedDocument):
    """A gate, or a comparison, which gates nothing."""

    kind: Literal["regression", "improvement", "compare"]
    against: Literal["base", "baseline"]
    outcome: VerdictOutcome
    failed: bool
    baseline: BaselineDocument | None = None
    verdicts: tuple[VerdictDocument, ...] = ()
    notes: tuple[NoteDocument, ...] = ()


class _Counts(TypedDocument):
    """The mean of a metric for a variant, over what is scored."""

    mean: float | None
    scored: int
    unscored: int


class AnswerTimes(TypedDocument):
    """How a variant's answers ended."""

    total: int
    cached: int = 0
    completion_tokens: int = 0
    generated_tokens: int = 0
    stop: int = 0
    length: int = 0
    timeout: int = 0
    error: int = 0


class Statistics(TypedDocument):
    """Means and counts over a run or a category."""

    total_tests: int
    cases: int
    metrics: dict[str, dict[str, _Counts]] = Field(default_factory=dict)
    answers: dict[str, AnswerTimes] = Field(default_factory=dict)
    outcomes: dict[str, int] = Field(default_factory=dict)

    def mean(self, metric: str, variant: str) -> float | None:
        """None where the metric was off or nothing was scored."""
        found = self.metrics.get(metric, {}).get(variant)
        return None if found is None else found.mean


class CompletionDocument(TypedDocument):
    """A variant's answer to a case."""

    text: str
    finish: str
    completion_tokens: int | None = None
    latency_s: float | None = None
    tokens_per_s: float | None = None
    batch_size: int = 1
    cached: bool = False
    error: str | None = None


class Result(TypedDocument):
    """One case in one epoch."""

    case: str
    category: str
    epoch: int
    prompt: str
    outcome: str
    scores: dict[str, dict[str, float | None]]
    completions: dict[str, CompletionDocument]


class Git(TypedDocument):
    """The code that made the numbers."""

    commit: str | None = None
    dirty: bool = False


class PassDocument(TypedDocument):
    """What one variant's answers took in this session, cached ones left out."""

    answers: int
    tokens: int
    seconds: float


class Metadata(TypedDocument):
    """What a run says of itself; backends and plugins add keys of their own, which are in `model_extra`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    base_model: str | None = None
    lora_adapter: str | None = None
    device: str | None = None
    timestamp: str = ""
    variants: tuple[str, ...] = ()
    git: Git | None = None
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, float | None] = Field(default_factory=dict)
    passes: dict[str, PassDocument] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    backend: dict[str, Any] | None = None

    @property
    def engine(self) -> str | None:
        """What answered, as it calls itself."""
        engine = (self.backend or {}).get("engine")
        return None if engine is None else str(engine)


class RunDocument(TypedDocument):
    """A run as `run.json` and `benchmark.json` hold it."""

    metadata: Metadata
    statistics: Statistics
    by_category: dict[str, Statistics]
    gate: GateDocument | None
    comparison: GateDocument | None = None
    results: tuple[Result, ...]

    @property
    def largest_batch(self) -> int:
        """Answers in the fullest batch; 1 where each was asked alone, or of a server."""
        sizes = (answer.batch_size for result in self.results for answer in result.completions.values())
        return max(sizes, default=1)


def run_document(document: Mapping[str, Any] | RunDocument) -> RunDocument:
    """The run in a document that obeys `schemas/run.schema.json`, as built or as read back from disk."""
    return read_as(RunDocument, document)


def gate_document(gate: Mapping[str, Any] | GateDocument) -> GateDocument:
    """The gate of a run's document, or of `llmbench compare --json`."""
    return GateDocument.model_validate(gate)
