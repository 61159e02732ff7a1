"""Documents as typed, frozen models, read from JSON that obeys the shipped schemas.

They hold what readers of a document need. Keys that a model does not name are left out; those that older documents lack
have a default.
"""

from __future__ import annotations

import functools
import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, overload

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from pytest_llmbench.core.records import BASE, ended_in_thought, is_answer
from pytest_llmbench.runs.result_parts import ResultParts

VerdictOutcome = Literal["pass", "fail", "inconclusive"]
GateKind = Literal["regression", "improvement", "compare"]
Found = TypeVar("Found")
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
    """One question of a gate: a metric of a variant, over all cases or those of a category.

    `units` are the groups of cases that depend on each other; older gates do not tell.
    """

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
    epochs: Number = 1
    units: int | None = None
    changed: int | None = None
    higher_is_better: bool = True
    margin: float = 0.0
    not_ruled_out: float | None = None
    detectable: float | None = None
    needed_cases: int | None = None
    needed_cases_range: tuple[int | None, int | None] | None = None
    needed_epochs: int | None = None
    method: str = ""
    moved: tuple[Moved, ...] = ()
    in_doubt: bool = False


class NoteDocument(TypedDocument):
    """What keeps the two sides of a comparison from being quite the same; older ones have the English text alone."""

    kind: str
    key: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
    message: str
    cases: tuple[str, ...] = ()


class BaselineDocument(TypedDocument):
    """The accepted run that a gate compares with."""

    name: str
    commit: str | None = None
    timestamp: str | None = None


class Because(TypedDocument):
    """What decided a gate: a key of the reports' sentences, and the place of the verdict that stands for it."""

    kind: str
    verdict: int | None
    others: int


class GateDocument(TypedDocument):
    """A gate, or a comparison, which gates nothing."""

    kind: GateKind
    against: Literal["base", "baseline"]
    outcome: VerdictOutcome
    failed: bool
    alpha: float = 0.05
    confidence: float = 0.95
    reason: str = ""
    because: Because | None = None
    baseline: BaselineDocument | None = None
    verdicts: tuple[VerdictDocument, ...] = ()
    notes: tuple[NoteDocument, ...] = ()

    @property
    def tells_better(self) -> bool:
        """Whether its pass means better than the base; a regression gate's means not worse.

        Never one without verdicts: gates of earlier builds without their baseline say that they are against the base.
        """
        return self.against == "base" and self.kind != "regression" and bool(self.verdicts)


class ScoreCounts(TypedDocument):
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
    metrics: dict[str, dict[str, ScoreCounts]] = Field(default_factory=dict)
    answers: dict[str, AnswerTimes] = Field(default_factory=dict)
    outcomes: dict[str, int] = Field(default_factory=dict)

    def mean(self, metric: str, variant: str) -> float | None:
        """None where the metric was off or nothing was scored."""
        found = self.metrics.get(metric, {}).get(variant)
        return None if found is None else found.mean

    def is_scored(self, metric: str, variant: str | None = None) -> bool:
        """Whether the metric judged any answer, or any of this variant."""
        found = self.metrics.get(metric, {})
        return any(one.scored for name, one in found.items() if variant in (None, name))


class AnswerDocument(TypedDocument):
    """What a variant answered, and what is known of how."""

    text: str
    reasoning: str | None = None
    finish: str = ""
    error: str | None = None

    @property
    def only_reasoned(self) -> bool:
        """Whether it ended before its thinking did."""
        return ended_in_thought(self.text, self.reasoning)

    @property
    def answered(self) -> bool:
        """Whether there was an answer to judge."""
        return self.error is None and is_answer(self.text, self.reasoning, self.finish)

    @property
    def told(self) -> str | None:
        """What was answered, or why that failed; None where nothing was."""
        return self.error or (self.text if self.answered else None)


class CallDocument(TypedDocument):
    """A tool call; `arguments` are a text where they could not be read, and lists of what is right where expected."""

    name: str
    arguments: dict[str, Any] | str


class FaultDocument(TypedDocument):
    """What a metric found wrong with an answer."""

    reason: str
    tool: str | None = None
    argument: str | None = None
    expected: Any = None
    found: Any = None

    def tells(self, key: str) -> bool:
        """Whether it says so; null may be what was expected or found."""
        return key in self.model_fields_set


class CompletionDocument(AnswerDocument):
    """A variant's answer to a case."""

    text_cut: bool = False
    finish: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None
    batch_size: int = 1
    prompt_truncated: bool = False
    tool_calls: tuple[CallDocument, ...] | None = None
    tools_left_out: str | None = None
    cached: bool = False
    timestamp: str = ""


class Result(TypedDocument):
    """One case in one epoch."""

    prompt_id: str = ""
    case: str
    category: str
    epoch: int
    prompt: str
    keywords_expected: tuple[str, ...] = ()
    tool: str | None = None
    reference: str | None = None
    group: str | None = None
    messages_sha256: str = ""
    timestamp: str = ""
    calls: tuple[CallDocument, ...] | str | None = None
    reasons: dict[str, dict[str, tuple[FaultDocument, ...]]] = Field(default_factory=dict)
    outcome: str
    scores: dict[str, dict[str, float | None]]
    completions: dict[str, CompletionDocument]

    def score(self, metric: str, variant: str) -> float | None:
        """None where the metric was off or did not score the answer."""
        return self.scores.get(metric, {}).get(variant)

    def faults(self, metric: str, variant: str) -> tuple[FaultDocument, ...]:
        """What the metric found wrong with the variant's answer."""
        return self.reasons.get(metric, {}).get(variant, ())


class Git(TypedDocument):
    """The code that made the numbers."""

    commit: str | None = None
    dirty: bool = False


class PassDocument(TypedDocument):
    """What one variant's answers took in this session, or those of all together; cached ones are left out."""

    answers: int
    tokens: int
    seconds: float


class CutShort(TypedDocument):
    """How many results a run that ended early has, and how many it was to have."""

    results: int
    planned: int


class LearntRows(TypedDocument):
    """How many rows of what a fine-tune was trained on come near to what it is asked."""

    rows_near_cases: int
    dataset: str


class RayTally(TypedDocument):
    """The actors that answered: how many there were at once, on how many machines, and what their deaths cost."""

    actors: int
    nodes: int
    deaths: int = 0
    batches_asked_again: int = 0
    answers_given_up: int = 0


class AnsweringBackend(TypedDocument):
    """Who answered: a model here, or a server. Each `requests` is the body that a server was sent for a variant.

    `limits` are keys of what the engine's answers do not promise or lack.
    """

    backend: str = ""
    engine: str | None = None
    limits: tuple[str, ...] = ()
    training_rows: dict[str, LearntRows] = Field(default_factory=dict)
    chat_templates: dict[str, Any] = Field(default_factory=dict)
    requests: dict[str, dict[str, Any]] = Field(default_factory=dict)
    streams_left_open: int | None = None
    ray: RayTally | None = None

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_default(cls, value: Any, known: ValidatorFunctionWrapHandler, about: ValidationInfo) -> Any:
        """Backends of plugins say what they like: what is no such thing counts as not said."""
        try:
            return known(value)
        except ValidationError:
            return cls.model_fields[str(about.field_name)].get_default(call_default_factory=True)

    @property
    def is_server(self) -> bool:
        """Whether it was a server, which tells no hash of its weights."""
        return self.backend == "server"


class AboutMetric(TypedDocument):
    """What a run says of a metric; older ones say nothing."""

    unit: str | None = None
    higher_is_better: bool | None = None


class Unrelated(TypedDocument):
    """The mean cosine similarity of answers to different cases."""

    mean: float


class VocabularyDocument(TypedDocument):
    """The tools that answers were searched for."""

    names: tuple[str, ...] = ()


class AnnouncedDocument(TypedDocument):
    """What an engine announced: as it was said, and the sentence apart from its values for other languages."""

    said: str
    text: str
    values: tuple[str | Number, ...] = ()


class Metadata(TypedDocument):
    """What a run says of itself; `recorded` is all of it, with what backends and plugins add."""

    recorded: dict[str, Any]
    base_model: str | None = None
    lora_adapter: str | None = None
    device: str | None = None
    timestamp: str = ""
    variants: tuple[str, ...] = ()
    git: Git | None = None
    seed: int | None = None
    epochs: Any = None
    cases_sha256: str | None = None
    cut_short: CutShort | None = None
    limited: bool | None = None
    """Whether `benchmark.limit` left cases out; None where no limit was set, and in older runs."""
    versions: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, float | None] = Field(default_factory=dict)
    passes: dict[str, PassDocument] = Field(default_factory=dict)
    shared_pass: PassDocument | None = None
    settings: dict[str, Any] | None = None
    metrics: dict[str, AboutMetric] = Field(default_factory=dict)
    vocabulary: VocabularyDocument | None = None
    cosine_between_cases: dict[str, Unrelated] | None = None
    backend: AnsweringBackend = AnsweringBackend()
    announcements: tuple[str | AnnouncedDocument, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_all(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        backend = data.get("backend")
        known = {key: value for key, value in data.items() if value is not None or key not in _NOT_NULL}
        return {**known, "recorded": dict(data), "backend": backend if isinstance(backend, Mapping) else {}}

    def setting(self, section: str, name: str) -> Any:
        """A recorded setting; None where it is unknown."""
        return ((self.settings or {}).get(section) or {}).get(name)

    @property
    def told(self) -> dict[str, Any]:
        """`recorded` as people read it: a base that answered alone had no adapter, which is not to be unknown."""
        return {**self.recorded, "lora_adapter": []} if self.variants == (BASE,) else self.recorded


_NOT_NULL = frozenset({"announcements", "timings", "metrics", "versions", "passes", "timestamp"})


class StoredResults(Sequence[Result]):
    """The results of a large run, each read when it is asked for."""

    def __init__(self, parts: ResultParts) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> list[Result]: ...
    def __getitem__(self, place: int | slice) -> Result | list[Result]:
        if isinstance(place, slice):
            return [Result.model_validate(row) for row in self.parts[place]]
        return Result.model_validate(self.parts[place])

    def __iter__(self) -> Iterator[Result]:
        for lines in self.parts.lines():
            yield from map(Result.model_validate_json, lines)


class StoredAnswers(Sequence[CompletionDocument]):
    """One variant's answers of those results."""

    def __init__(self, results: StoredResults, variant: str, count: int) -> None:
        self._results, self._variant, self._count = results, variant, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]

    def __iter__(self) -> Iterator[CompletionDocument]:
        return (row.completions[self._variant] for row in self._results if self._variant in row.completions)


_MOST_IN_MEMORY = 20_000
"""Results of a run that are all read at once: reports look at them some thirty times."""


def _stored(value: Any, known: ValidatorFunctionWrapHandler) -> Any:
    if not isinstance(value, ResultParts):
        return known(value)
    stored = StoredResults(value)
    return tuple(stored) if len(stored) <= _MOST_IN_MEMORY else stored


class ScoreColumns:
    """Case, category and scores of each result, a column each: what figures and rankings look at."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.cases: list[str] = []
        self.categories: list[str] = []
        self._scores: dict[tuple[str, str], array[float]] = {}
        names: dict[str, str] = {}
        for place, result in enumerate(results):
            self.cases.append(result.case)
            self.categories.append(names.setdefault(result.category, result.category))
            for metric, by_variant in result.scores.items():
                for variant, score in by_variant.items():
                    if score is not None:
                        column = self._scores.setdefault((metric, variant), array("d"))
                        column.extend([math.nan] * (place - len(column)))
                        column.append(score)

    def of(self, metric: str, variant: str) -> array[float]:
        """The scores, NaN where there is none; results behind the last that is scored are left out."""
        return self._scores.get((metric, variant), array("d"))


class RunDocument(TypedDocument):
    """A run as `run.json` and `benchmark.json` hold it."""

    metadata: Metadata
    statistics: Statistics
    by_category: dict[str, Statistics]
    gate: GateDocument | None
    comparison: GateDocument | None = None
    results: Annotated[tuple[Result, ...] | StoredResults, WrapValidator(_stored)]
    model_config = ConfigDict(arbitrary_types_allowed=True)
    _found: dict[Hashable, Any] = PrivateAttr(default_factory=dict)

    def once(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What `find` finds in this document, which does not change: looked for once."""
        if key not in self._found:
            self._found[key] = find()
        found: Found = self._found[key]
        return found

    @property
    def judged(self) -> GateDocument | None:
        """The gate, or the comparison with the base where the gate had nothing to compare."""
        made = [one for one in (self.gate, self.comparison) if one is not None]
        return next((one for one in made if one.verdicts), made[0] if made else None)

    @functools.cached_property
    def score_columns(self) -> ScoreColumns:
        """The scores by column."""
        return ScoreColumns(self.results)

    @functools.cached_property
    def largest_batch(self) -> int:
        """Answers in the fullest batch; 1 where each was asked alone, or of a server."""
        sizes = (answer.batch_size for result in self.results for answer in result.completions.values())
        return max(sizes, default=1)

    @property
    def variants(self) -> tuple[str, ...]:
        """Who answered, the base first."""
        return self.metadata.variants

    @property
    def adapters(self) -> list[str]:
        """The variants to hold against the base; empty where no base answered."""
        return [name for name in self.variants if name != BASE] if BASE in self.variants else []

    @property
    def paired_with_base(self) -> GateDocument | None:
        """Whatever has verdicts on fine-tune minus base: a regression gate on these pairs too."""
        gate = self.gate
        return gate if gate is not None and gate.against == BASE and gate.verdicts else self.comparison

    @property
    def answers(self) -> Mapping[str, Sequence[CompletionDocument]]:
        """Each variant's answers, in the order of the results."""
        if isinstance(stored := self.results, StoredResults):
            counts = self.statistics.answers
            return {variant: StoredAnswers(stored, variant, one.total) for variant, one in counts.items()}
        found: dict[str, list[CompletionDocument]] = {}
        for result in self.results:
            for variant, answer in result.completions.items():
                found.setdefault(variant, []).append(answer)
        return found


class AskedCases(TypedDocument):
    """What a run asked: a hash of it, and how many cases a category had, which is all that older runs tell."""

    sha256: str | None
    cases: dict[str, int]


class RunPoint(TypedDocument):
    """A run as one point of a trend. `variants` is variant -> metric -> mean.

    `scored` is variant -> metric -> how many answers have a score, and how many there are.
    """

    name: str
    timestamp: str
    variants: dict[str, dict[str, float | None]]
    outcome: VerdictOutcome | None
    asked: AskedCases | None = None
    scored: dict[str, dict[str, tuple[int, int]]] = Field(default_factory=dict)


def run_document(document: Mapping[str, Any] | RunDocument) -> RunDocument:
    """The run in a document that obeys `schemas/run.schema.json`, as built or as read back from disk."""
    return read_as(RunDocument, document)


def gate_document(gate: Mapping[str, Any] | GateDocument) -> GateDocument:
    """The gate of a run's document, or of `llmbench compare --json`."""
    return read_as(GateDocument, gate)
