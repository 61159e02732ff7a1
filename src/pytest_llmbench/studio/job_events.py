"""What the data of a job's event holds, by its kind."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pytest_llmbench.studio.store import EventKind, JobState


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class StepData(_Data):
    """A logged step of a training. `loss` and `entropy` in nats, `memory` in bytes, `token_accuracy` 0 to 1.

    What was no number is None.
    """

    step: int
    of: int
    loss: float | None
    token_accuracy: float | None
    entropy: float | None
    tokens: int
    tokens_per_s: float
    seconds_left: float | None = None
    memory: int
    gradient_norm: float | None = None
    learning_rate: float | None = None


class EvaluationData(_Data):
    """What was measured, after so many steps, on rows that are not learnt; None where it was no number."""

    step: int
    loss: float | None
    token_accuracy: float | None


class LogData(_Data):
    """A line that the job's command wrote."""

    line: str


class Problem(_Data):
    """Why a job failed, in the words of the command line; `code` is the kind of error for programs."""

    code: str
    detail: str


class StateData(_Data):
    """The job is in another state."""

    state: JobState
    problem: Problem | None = None


DATA: dict[EventKind, type[BaseModel]] = {
    "step": StepData,
    "evaluation": EvaluationData,
    "log": LogData,
    "state": StateData,
}
"""The document in `Event.data` of each kind."""


class Curves(_Data):
    """The course of a training in a bounded number of points."""

    steps: tuple[StepData, ...]
    evaluations: tuple[EvaluationData, ...]
