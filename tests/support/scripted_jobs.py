"""Jobs of a studio whose command is a short program that writes what a training writes, at the speed of a test."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmbench.core.errors import NotReadyError
from pytest_llmbench.core.settings import Settings
from pytest_llmbench.studio.job_kinds import JOURNAL, JobFiles
from pytest_llmbench.studio.job_queue import QueueLimits
from pytest_llmbench.studio.jobs import Jobs, StartFinetuning
from pytest_llmbench.studio.options import StudioOptions
from pytest_llmbench.studio.store import Dataset, Job, JobKind, Store

DATASET = "d1"
LIMITS = QueueLimits(cancel_s=0.5, look_s=0.02, spare_bytes=0)

# Goes on behind the last whole step of its journal, as a training does from its newest checkpoint.
TRAINER = """
import json, os, sys, time
path, of, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
try:
    data = open(path, "rb").read()
    os.truncate(path, data.rfind(b"\\n") + 1)
except FileNotFoundError:
    data = b""
at = "2026-01-01T00:00:00+00:00"
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for step in range(data.count(b"\\n") + 1, of + 1):
    line = {"kind": "step", "at": at, "step": step, "of": of, "loss": 1 / step, "token_accuracy": 0.5, "entropy": 1.0,
            "tokens": 10 * step, "tokens_per_s": 1e3, "seconds_left": None, "memory": 1, "learning_rate": 0.1}
    os.write(file, json.dumps(line).encode() + b"\\n")
    if step % 10 == 0:
        print("step", step, flush=True)
    time.sleep(pause)
"""


class Scripted:
    """A kind of job that runs `program`, with the journal, the steps and the pause between them as its arguments."""

    outcomes = frozenset({0})

    def __init__(self, program: str = TRAINER, *, steps: int = 5, pause: float = 0.0, room: int = 0) -> None:
        self.program, self.steps, self.pause, self._room = program, steps, pause, room

    def command(self, _job: Job, files: JobFiles, _options: StudioOptions) -> Sequence[str]:
        journal = str(files.folder / JOURNAL)
        return (sys.executable, "-S", "-E", "-c", self.program, journal, str(self.steps), str(self.pause))

    def room(self, _job: Job, _files: JobFiles) -> int:
        return self._room

    def result(self, job: Job, files: JobFiles, _options: StudioOptions, _code: int) -> dict[str, Any]:
        if not (files.folder / JOURNAL).exists():
            raise NotReadyError("it wrote no step")
        return {"adapter": job.output}


def scripted(work: Scripted) -> Mapping[JobKind, Scripted]:
    """The same for all kinds."""
    return {"finetune": work, "benchmark": work, "autotune": work}


def studio_options(folder: Path) -> StudioOptions:
    settings = Settings()
    model = settings.model.model_copy(update={"adapters_dir": folder / "adapters"})
    return StudioOptions(settings=settings.model_copy(update={"model": model}), folder=folder)


def add_dataset(store: Store, path: Path | None = None) -> None:
    """A dataset that can be named in requests."""
    with store.writing() as session:
        session.add(
            Dataset(
                id=DATASET,
                name="rows.jsonl",
                format="jsonl",
                path=str(path or "datasets/d1.jsonl"),
                bytes=path.stat().st_size if path else 100,
                rows=1,
                languages={},
                statistics={},
                created=datetime.now(UTC),
            )
        )


@contextlib.contextmanager
def scripted_jobs(store: Store, work: Scripted, limits: QueueLimits = LIMITS) -> Iterator[Jobs]:
    """A studio's jobs, worked off until the block ends."""
    jobs = Jobs(store, studio_options(store.folder), limits, scripted(work))
    jobs.start()
    try:
        yield jobs
    finally:
        jobs.close()


def training(**changes: Any) -> StartFinetuning:
    return StartFinetuning(dataset_id=DATASET, model_name="smollm2-135m", **changes)


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)
