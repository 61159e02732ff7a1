"""Jobs as people use them: started, watched, cancelled, resumed and put in another order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.core.errors import UsageError
from pytest_llmbench.models.registry import Task
from pytest_llmbench.studio.job_events import Curves
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.store import Event, Job, Store

_Count = Annotated[int, Field(ge=1)]


class WrongStateError(UsageError):
    """The job is not in a state in which that can be done."""

    code = "wrong_state"


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StartFinetuning(_Request):
    """A training. What is left out comes from the model's preset for the task."""

    dataset_id: str
    model_name: str
    validation_dataset_id: str | None = None
    task: Task | None = None
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    num_epochs: Annotated[float, Field(gt=0, le=1e6)] | None = None
    batch_size: _Count | None = None
    max_length: Annotated[int, Field(ge=8)] | None = None
    gradient_accumulation: _Count | None = None
    gradient_checkpointing: bool | None = None
    rank: _Count | None = None
    alpha: _Count | None = None
    dropout: Annotated[float, Field(ge=0, le=0.9)] | None = None
    targets: Literal["all-linear"] | tuple[str, ...] | None = None
    warmup_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    quantization: Literal["nf4", "none"] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    steps: _Count | None = None
    save_steps: _Count | None = None


class StartBenchmark(_Request):
    """The main job on a finished training: base against adapter, with the gate."""

    limit: _Count | None = None
    epochs: _Count | None = None


class StartAutotune(_Request):
    """How many users a server on this machine holds."""

    server: str
    server_model: str | None = None
    latency: Annotated[float, Field(gt=0)] | None = None
    max_users: _Count | None = None


class Jobs:
    """The jobs of a store. `start` begins to work the queue off, and takes up what an earlier studio left running."""

    def __init__(self, store: Store, options: StudioOptions) -> None:
        self._store, self._options = store, options

    def start(self) -> None:
        """Work the queue off in a thread until `close`."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop to look after jobs. Those that run go on; the next studio takes them up."""
        raise NotImplementedError

    def start_finetuning(self, request: StartFinetuning) -> Job:
        """Queue a training; `Job.settings` has every hyper-parameter that was chosen.

        Raises:
            NotFoundError: there is no such dataset.
            WrongModelError: the model is not in the registry, and others are not allowed.
            UsageError: a value is of no use.
            NotReadyError: there is too little room on the disk.
        """
        raise NotImplementedError

    def start_benchmark(self, job_id: int, request: StartBenchmark) -> Job:
        """Queue the main job for the adapter of a finished training.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: it is no finished training.
        """
        raise NotImplementedError

    def start_autotune(self, request: StartAutotune) -> Job:
        """Queue a search for the users that a server holds.

        Raises:
            UsageError: the server is not on this machine.
        """
        raise NotImplementedError

    def list(self) -> Sequence[Job]:
        """All jobs: those that run, the queue in its order, then the others, the newest first."""
        raise NotImplementedError

    def get(self, job_id: int) -> Job:
        """One job. Raises NotFoundError."""
        raise NotImplementedError

    def cancel(self, job_id: int) -> Job:
        """End a job and all its processes; a training keeps its newest checkpoint.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: it is over.
        """
        raise NotImplementedError

    def resume(self, job_id: int) -> Job:
        """Queue a job again that was interrupted, cancelled or failed; a training goes on from its checkpoint.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: it is not over, or is finished.
        """
        raise NotImplementedError

    def reorder(self, job_ids: Sequence[int]) -> Sequence[Job]:
        """Put the queue in this order; queued jobs that are not named follow. The queue as it is then.

        Raises:
            NotFoundError: there is no such job.
            WrongStateError: one is not queued any more.
        """
        raise NotImplementedError

    def events(self, job_id: int, after: int = 0) -> AsyncIterator[Event]:
        """The events with a sequence above `after`, then each new one; ends when the job is over and all are told.

        Each watcher reads from the store at its own speed; nothing is kept for it.

        Raises:
            NotFoundError: there is no such job.
        """
        raise NotImplementedError

    def curve(self, job_id: int, points: int = 500) -> Curves:
        """Steps and evaluations, thinned out evenly to at most `points` each, in the time that so many take.

        Raises:
            NotFoundError: there is no such job.
        """
        raise NotImplementedError

    def log(self, job_id: int, last: int = 200) -> Sequence[Event]:
        """The newest lines of its log. Raises NotFoundError."""
        raise NotImplementedError
