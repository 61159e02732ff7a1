"""What a run measures: completions, case results and the run itself, as plain frozen data."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

BASE = "base"
FINETUNED = "finetuned"

SCHEMA_VERSION = 1

Finish = Literal["stop", "length", "timeout", "error"]
Scores = Mapping[str, Mapping[str, float | None]]
"""metric -> variant -> score; `None` is *unscored*, which is not zero."""
Reasons = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
"""metric -> variant -> what is wrong with the answer, one object a fault: its `reason`, and what tells more of it."""


def ended_in_thought(text: str, reasoning: str | None) -> bool:
    """Whether a model's answer ended before its thinking did."""
    return bool(reasoning) and not text


def is_answer(text: str, reasoning: str | None, finish: str) -> bool:
    """Whether there is an answer to judge: it did not fail, time out before it began, or end in its thinking."""
    if finish == "error" or ended_in_thought(text, reasoning):
        return False
    return finish != "timeout" or text != ""


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """One variant's answer to one case.

    `latency_s` and `first_token_s` count from the moment the question was handed to the model (locally: when it found
    room in a batch) to its last and first token. `embedding` is the base's mean last-layer hidden state over the
    answer, base64 of little-endian float32, or None where the backend has no hidden states. `error` is set when
    `finish` is "error"; such a completion is never cached. `text` is the answer alone; what the model thought before it
    is in `reasoning`, None where it did not think. `tool_calls` are the calls in it, `{"name", "arguments"}`, empty
    where it makes none, None where nobody looked: the case gave no tools, and a server told of no call. Arguments that
    are no JSON object are kept as text. `tools_left_out` says why the case's tools did not reach the model.
    """

    case: str
    epoch: int
    variant: str
    text: str
    finish: Finish
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_s: float | None = None
    first_token_s: float | None = None
    batch_size: int = 1
    prompt_truncated: bool = False
    cached: bool = False
    embedding: str | None = None
    error: str | None = None
    timestamp: str = ""
    reasoning: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] | None = dataclasses.field(default=None, hash=False)
    tools_left_out: str | None = None

    @property
    def only_reasoned(self) -> bool:
        """Whether it ended before its thinking did."""
        return ended_in_thought(self.text, self.reasoning)

    @property
    def answered(self) -> bool:
        """Whether there is an answer to judge."""
        return is_answer(self.text, self.reasoning, self.finish)

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens of this answer over its own latency; other answers of the same batch are not counted."""
        if not self.completion_tokens or not self.latency_s:
            return None
        return self.completion_tokens / self.latency_s

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_json` reads back unchanged."""
        return {name: getattr(self, name) for name in _completion_fields()}  # asdict would copy

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Keys that this version does not know are left out."""
        known = _completion_fields()
        found = {key: value for key, value in data.items() if key in known}
        if found.get("tool_calls") is not None:
            found["tool_calls"] = tuple(found["tool_calls"])
        return cls(**found)


@functools.cache
def _completion_fields() -> dict[str, None]:
    return dict.fromkeys(field.name for field in dataclasses.fields(Completion))


@dataclasses.dataclass(frozen=True, slots=True)
class CaseResult:
    """One case of one epoch: what was asked, what each variant answered, and how each answer scored.

    `prompt` is the user's last message; `messages_sha256` is of all of them, the system prompt and the tools included.
    `calls` are the tool calls that are right, as suites have them. `reasons` say what is wrong with answers: metric ->
    variant -> one object a fault. Cases of one `group` depend on each other.
    """

    category: str
    prompt_id: str
    epoch: int
    prompt: str
    keywords: tuple[str, ...]
    tool: str | None
    reference: str | None
    completions: Mapping[str, Completion]
    scores: Scores
    outcome: str = "passed"
    timestamp: str = ""
    messages_sha256: str = ""
    calls: Any = None
    reasons: Reasons = dataclasses.field(default_factory=dict)
    group: str | None = None

    @property
    def case(self) -> str:
        """`category/id`, the pytest id of the case."""
        return f"{self.category}/{self.prompt_id}"

    def score(self, metric: str, variant: str) -> float | None:
        """The score, or None when the metric was off, did not apply, or had nothing to judge."""
        return self.scores.get(metric, {}).get(variant)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_json` reads back unchanged."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        completions = {name: Completion.from_json(item) for name, item in data["completions"].items()}
        return cls(**{**data, "keywords": tuple(data["keywords"]), "completions": completions})


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Everything one session measured. `variants` starts with the base when there is one.

    `comparison` holds each fine-tune against the base, in a gate's shape, where the gate does not.
    """

    metadata: Mapping[str, Any]
    variants: tuple[str, ...]
    results: Sequence[CaseResult]
    gate: Mapping[str, Any] | None = None
    comparison: Mapping[str, Any] | None = None
