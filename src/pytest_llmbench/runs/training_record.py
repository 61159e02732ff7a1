"""The record that a training leaves in its adapter folder, as a typed model: what comparisons read of it.

Seconds are wall-clock seconds, losses nats a token. What a record of an older version does not say is None.
"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.runs.typed import Number, TypedDocument


class DatasetRecord(TypedDocument):
    """The rows that were trained on, or held out."""

    name: str | None = None
    sha256: str | None = None
    rows: int | None = None


class StepRecord(TypedDocument):
    """A step that was logged, or measured on the rows held out; `of` is how many there were to be."""

    step: int
    loss: float
    of: int | None = None


class RecordedSession(TypedDocument):
    """One of the sessions that a training took."""

    from_step: int = 0


class TrainingRecord(TypedDocument):
    """What was trained, on what, how, and how it went."""

    base_spec: str | None = None
    base_weights_hash: str | None = None
    quantization: str | None = None
    template_arguments: dict[str, Any] | None = None
    system_role: str | None = None
    dataset: DatasetRecord | None = None
    validation_dataset: DatasetRecord | None = None
    hyperparameters: dict[str, Any] | None = None
    duration_s: Number | None = None
    train_loss: Number | None = None
    token_accuracy: Number | None = None
    entropy: Number | None = None
    trainable_parameters: Number | None = None
    trainable_share: Number | None = None
    samples_per_s: Number | None = None
    tokens: Number | None = None
    steps: tuple[StepRecord, ...] = ()
    validation: tuple[StepRecord, ...] = ()
    sessions: tuple[RecordedSession, ...] = ()
    resumed_at_step: int | None = None

    @property
    def all_steps(self) -> int | None:
        """All steps of the training; the last ones need not have been logged."""
        if not self.steps:
            return None
        return self.steps[-1].step if self.steps[-1].of is None else self.steps[-1].of

    @property
    def timed_in_part(self) -> bool:
        """Whether its first session is not recorded, as older versions did not when it was resumed."""
        return bool(self.sessions[0].from_step if self.sessions else self.resumed_at_step)
