"""The document of a tuning: every server that was started, what it held, and whether the winner beats the baseline.

`tune.json` holds it; `schemas/tune.schema.json` is made from these models. Users are those of whom the promise holds.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pytest_llmbench.context.serving.launch_settings import LaunchSettings
from pytest_llmbench.core.setting_sections import Engine
from pytest_llmbench.runs.context_document import NumberWithInterval, PromiseDocument
from pytest_llmbench.runs.typed import TypedDocument

Value = bool | int | float | str | None
TrialOutcome = Literal[
    "measured",
    "surely_worse",  # its search ended early: it holds fewer than the best so far
    "wrong_answers",  # it loses known questions that the baseline answers
    "short_context",  # a slot holds less than is wanted
    "not_started",
    "died",
    "failed",  # nothing was learned: the load generator was the bottleneck, or the questions were refused
]
Outcome = Literal[
    "better",
    "no_better",  # the interval has a factor of 1 in it, or lies below
    "not_told_apart",  # a search ended, by its limits, before it was seen where the users end: there is no factor
    "baseline_best",  # no other settings seemed better, so nothing was measured again
    "unconfirmed",  # stopped before there were two rounds
]


class UsersDocument(TypedDocument):
    """Users held: the likeliest number with its 95 % interval, mean and deviation of what is probable.

    `more` says that `users` stands for that or more.
    """

    users: int
    low: int
    high: int
    mean: float
    deviation: float
    more: bool = False
    decided: bool = False
    sent: int = 0
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """As lines of progress tell it: `8 users (7 to 9)`, `at least 1 user (95 % interval from 0)`."""
        users = f"{self.users} {'user' if self.users == 1 else 'users'}"
        if self.more:
            return f"at least {users} (95 % interval from {self.low})"
        return f"{users} ({self.low} to {self.high})"


class TuningTrial(TypedDocument):
    """One server that was started. `right` are the places of the known questions, of `asked`, that were answered so."""

    number: int
    settings: dict[str, Value]
    launch: LaunchSettings
    command: str = ""
    """What starts such a server, as a shell takes it; on the port of `launch`."""
    outcome: TrialOutcome
    reason: str = ""
    held: UsersDocument | None = None
    right: tuple[int, ...] = ()
    asked: int | None = None
    context_tokens: int | None = None
    """Tokens that a request may hold, as the server says or a prompt proved; None where nothing told."""
    start_s: float | None = None
    seconds: float = 0.0


class RoundDocument(TypedDocument):
    """Both measured again, one right after the other. `trial` is the winner's; older studies lack it."""

    baseline: UsersDocument
    winner: UsersDocument
    winner_first: bool
    trial: int | None = None


class ParameterDocument(TypedDocument):
    """A setting that was searched."""

    name: str
    choices: tuple[Value, ...]
    baseline: Value


class TuningMetadata(TypedDocument):
    """Where the document came from."""

    created: str
    command: str = ""
    provenance: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)


class TuningDocument(TypedDocument):
    """What a tuning found. `winner` and `baseline` are numbers of trials."""

    schema_version: Literal[1] = 1
    kind: Literal["tune"] = "tune"
    metadata: TuningMetadata
    study: str
    engine: Engine
    launcher: str
    """The command's template, or `embedded`."""
    model: str
    context: int
    promise: PromiseDocument
    parameters: tuple[ParameterDocument, ...]
    trials: tuple[TuningTrial, ...]
    baseline: int
    winner: int
    rounds: tuple[RoundDocument, ...] = ()
    outcome: Outcome
    cut_short: bool = False
    """The search, or its confirmation, was stopped: the document tells what was known by then."""
    ratio: NumberWithInterval | None = None
    """Users held with the winner over those held with the baseline, both measured again in turns.

    Where the winner's searches ended before its end was seen, it is the least that the factor may be.
    """

    def trial(self, number: int) -> TuningTrial:
        """The trial of that number."""
        return next(one for one in self.trials if one.number == number)

    @property
    def at_least(self) -> bool:
        """Whether the ratio is the least that it may be: a search ended before the end of the winner was seen."""
        return any(made.winner.more for made in self.rounds)

    @property
    def advised(self) -> TuningTrial:
        """The settings to run: the winner's where it is better, else the baseline's."""
        return self.trial(self.winner if self.outcome == "better" else self.baseline)
